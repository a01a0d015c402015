<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>{{title}}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="theme-color" content="#fbf9f4" media="(prefers-color-scheme: light)">
<meta name="theme-color" content="#14171a" media="(prefers-color-scheme: dark)">
<link rel="icon" href="{{static('icon.svg')}}" type="image/svg+xml">
<link rel="alternate" type="application/atom+xml" title="Most retweeted today" href="/top.atom?window=day">
<link rel="stylesheet" href="{{static('page.css')}}">
<noscript><link rel="stylesheet" href="{{static('no-script.css')}}"></noscript>
<script type="module" src="{{static('refresh.js')}}"></script>
<script type="module" src="{{static('write.js')}}"></script>
</head>
<body>
% view = get('view', '')
<a class="skip" href="#main">Skip to the tweets</a>
<header class="bar">
<a class="brand" href="/">
<svg viewBox="0 0 32 32" width="28" height="28" aria-hidden="true"><path d="M7 25 16 16 25 7"/><circle cx="7" cy="25" r="3.5"/><circle cx="16" cy="16" r="3.5"/><circle class="full" cx="25" cy="7" r="4.5"/></svg>
Simple Twitter</a>
<button type="button" class="main needs-script" data-opens="post">Write<span class="roomy"> a tweet</span></button>
<nav class="tabs views" aria-label="Lists">
<a href="/"{{!' aria-current="page"' if view == 'top' else ''}}>Top</a>
<a href="/newest"{{!' aria-current="page"' if view == 'newest' else ''}}>Newest</a>
</nav>
</header>
<main id="main" tabindex="-1">
{{!base}}
</main>
<footer>
<p><a href="/api/v1/">API documentation</a> <span>Simple Twitter {{version}}</span> <label class="needs-script"><input type="checkbox" data-shortcut autocomplete="off" checked> The key N opens the form</label></p>
<p class="without-script">Reading works without JavaScript. To post or retweet, switch it on, or use the API.</p>
</footer>
<p id="state" role="status"></p>
<p id="notice" role="status"></p>
% include('form.tpl', name='post', heading='Write a tweet', send='Post', required=True)
% include('form.tpl', name='retweet', heading='Retweet', send='Retweet', required=False)
</body>
</html>

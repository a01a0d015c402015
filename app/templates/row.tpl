% is_target = get('is_target', False)
% many = '' if row.count == '1' else 's'
<article class="tweet{{'' if row.user_name else ' gone'}}{{' compact' if row.compact else ''}}" aria-labelledby="title-{{row.id}}">
% if row.user_name is None:
<h3 id="title-{{row.id}}">\\
% if is_target:
This tweet was deleted.\\
% else:
<a href="/tweet/{{row.id}}" data-control="open">A deleted tweet</a>\\
% end
</h3>
% elif row.compact:
<a class="by" href="/users/{{row.user_name}}" data-control="by"><bdi data-name>@{{row.user_name}}</bdi></a> \\
% if row.parent_name:
retweeted <a class="by" href="/users/{{row.parent_name}}" data-control="parent"><bdi>@{{row.parent_name}}</bdi></a>’s \\
% elif row.parent:
retweeted \\
% else:
posted \\
% end
<h3 id="title-{{row.id}}" dir="auto"><a href="/tweet/{{row.id}}" data-control="open" data-title>{{row.title}}</a></h3>
<span class="meta"><time datetime="{{row.created_at}}" title="{{row.date}}">{{row.age}}</time> \\
% if row.received:
<span class="count"><strong>{{row.received}}</strong></span>\\
% else:
<span class="count"><strong>{{row.count}}</strong> retweet{{many}}</span>\\
% end
</span>
% else:
<h3 id="title-{{row.id}}" dir="auto">\\
% if is_target:
<span data-title>{{row.title}}</span>\\
% else:
<a href="/tweet/{{row.id}}" data-control="open" data-title>{{row.title}}</a>\\
% end
</h3>
<p class="by"><a href="/users/{{row.user_name}}" data-control="by"><bdi data-name>@{{row.user_name}}</bdi></a> <time datetime="{{row.created_at}}" title="{{row.date}}">{{row.age}}</time></p>
% if row.parent and onto:
<p class="onto">retweets <a href="/tweet/{{row.parent}}" data-control="parent">\\
% if row.parent_name:
<bdi>@{{row.parent_name}}</bdi>\\
% else:
a deleted tweet\\
% end
</a></p>
% end
% if row.body:
<div class="body" dir="auto">{{row.body}}\\
% if row.more:
… <a href="/tweet/{{row.id}}" data-control="more" aria-describedby="title-{{row.id}}">Read on</a>\\
% end
</div>
% end
<p class="acts">
<a class="count" href="/tweet/{{row.id}}#retweets" data-control="retweets" aria-describedby="title-{{row.id}}">\\
% if row.received:
<strong>{{row.received}}</strong>{{', ' + row.count + '\xa0in\xa0all' if row.count else ''}}\\
% else:
<strong>{{row.count}}</strong> retweet{{many}}\\
% end
</a>
<span class="ways">
% if is_target:
<button type="button" class="deletes" data-control="delete" data-opens="delete" data-author="{{row.user_name}}" data-tokens="{{'needed' if tokens else ''}}">Delete</button>
% end
<button type="button" class="needs-script" data-control="retweet" data-opens="retweet" data-tweet="{{row.id}}" aria-describedby="title-{{row.id}}">Retweet</button>
</span>
</p>
% end
</article>

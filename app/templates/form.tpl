<dialog id="{{name}}" aria-labelledby="{{name}}-heading" closedby="any">
<form method="dialog" action="/" novalidate autocomplete="on" data-method="POST" data-call="/api/v1/{{'tweet' if required else 'retweet'}}">
<h2 id="{{name}}-heading">{{heading}}</h2>
% if not required:
<p class="target"><bdi data-target="user_name"></bdi><span data-target="title" dir="auto"></span></p>
<p class="hint">Leave title and text empty to pass them on as they are.</p>
% end
<p class="note" data-draft hidden>This is your draft, as you left it.</p>
<p class="fault" role="alert" data-fault=""></p>
<label for="{{name}}-user_name">Your name</label>
<input id="{{name}}-user_name" name="user_name" aria-describedby="{{name}}-user_name-rule {{name}}-user_name-fault" autocomplete="nickname" autocapitalize="none" spellcheck="false" data-most="64" data-enter="Enter your name" data-rule="Only A to Z, digits, underscores, dots and hyphens, and not dots alone" required>
<p class="fault" id="{{name}}-user_name-fault" data-fault="user_name"></p>
<p class="rule" id="{{name}}-user_name-rule">Letters A to Z, digits, underscores, dots and hyphens; no spaces.</p>
<label for="{{name}}-title">Title</label>
<input id="{{name}}-title" name="title" dir="auto" aria-describedby="{{name}}-title-fault {{name}}-title-counter" autocomplete="off" data-most="280" data-enter="Enter a title"{{' required' if required else ''}}>
<p class="fault" id="{{name}}-title-fault" data-fault="title"></p>
<p class="counter" id="{{name}}-title-counter" data-counter="title"></p>
<label for="{{name}}-body">Text</label>
<textarea id="{{name}}-body" name="body" dir="auto" rows="5" aria-describedby="{{name}}-body-fault {{name}}-body-counter" data-most="10000" data-enter="Enter a text"{{' required' if required else ''}}></textarea>
<p class="fault" id="{{name}}-body-fault" data-fault="body"></p>
<p class="counter" id="{{name}}-body-counter" data-counter="body"></p>
% include('token.tpl', name=name)
<p class="acts"><button type="button" data-closes>Cancel</button><button type="submit" class="main" aria-keyshortcuts="Control+Enter Meta+Enter">{{send}}</button></p>
</form>
</dialog>

<dialog id="{{name}}" aria-labelledby="{{name}}-heading">
<form method="dialog" action="/" novalidate autocomplete="on" data-call="/api/v1/{{'tweet' if required else 'retweet'}}">
<h2 id="{{name}}-heading">{{heading}}</h2>
% if not required:
<p class="target"><bdi data-target="user_name"></bdi><span data-target="title" dir="auto"></span></p>
<p class="hint">Leave title and text empty to pass them on as they are.</p>
% end
<p class="fault" role="alert" data-fault=""></p>
<label for="{{name}}-user_name">Your name</label>
<input id="{{name}}-user_name" name="user_name" aria-describedby="{{name}}-user_name-fault" autocomplete="nickname" autocapitalize="none" spellcheck="false" required>
<p class="fault" id="{{name}}-user_name-fault" data-fault="user_name"></p>
<label for="{{name}}-title">Title</label>
<input id="{{name}}-title" name="title" dir="auto" aria-describedby="{{name}}-title-fault" autocomplete="off"{{' required' if required else ''}}>
<p class="fault" id="{{name}}-title-fault" data-fault="title"></p>
<label for="{{name}}-body">Text</label>
<textarea id="{{name}}-body" name="body" dir="auto" rows="5" aria-describedby="{{name}}-body-fault"{{' required' if required else ''}}></textarea>
<p class="fault" id="{{name}}-body-fault" data-fault="body"></p>
<div data-token hidden>
<label for="{{name}}-token">Token</label>
<input id="{{name}}-token" name="token" type="password" aria-describedby="{{name}}-token-hint" autocomplete="off">
<p class="hint" id="{{name}}-token-hint">Kept until this tab is closed.</p>
</div>
<p class="acts"><button type="button" data-closes>Cancel</button><button type="submit" class="main">{{send}}</button></p>
</form>
</dialog>

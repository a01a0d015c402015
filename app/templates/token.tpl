<div data-token hidden>
<label for="{{name}}-token">Token</label>
<input id="{{name}}-token" name="token" type="password" aria-describedby="{{name}}-token-hint" autocomplete="off">
<p class="hint" id="{{name}}-token-hint">Kept until this tab is closed.</p>
</div>

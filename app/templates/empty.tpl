<div class="empty">
<svg viewBox="0 0 120 60" width="120" height="60" aria-hidden="true"><path d="M15 48C40 48 35 14 60 14S80 44 105 44"/><circle cx="15" cy="48" r="5"/><circle cx="60" cy="14" r="5"/><circle class="full" cx="105" cy="44" r="6"/></svg>
<h3>Nothing has been said yet</h3>
<p>Start the first chain.</p>
<p class="acts"><button type="button" class="main needs-script" data-control="first" data-opens="post">Write the first tweet</button></p>
</div>

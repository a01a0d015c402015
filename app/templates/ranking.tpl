% rebase('layout.tpl', title='Most retweeted · Simple Twitter', static=static)
<div class="lead">
<h1>Most retweeted</h1>
<p>A retweet counts for every tweet it passes on, back to the first.</p>
<nav class="tabs" aria-label="Time">
% for name, shown in tabs:
<a href="/{{'?window=' + name if name else ''}}"{{!' aria-current="page"' if name == window else ''}}>{{shown}}</a>
% end
</nav>
</div>
<section data-live="5" data-patch tabindex="-1" aria-labelledby="ranking-heading">
<h2 id="ranking-heading" class="unseen">The ranking</h2>
% if stale:
<p class="note">The ranking cannot be asked just now. This is the last one known.</p>
% end
% if rows:
<ol class="ranking" role="list" data-patch>
% for row in rows:
<li data-id="{{row.id}}">
<p class="rank"><span class="unseen">Rank </span>{{row.rank}}</p>
% include('row.tpl', row=row, onto=True, chain_link=True)
<svg class="share" viewBox="0 0 100 1" preserveAspectRatio="none" aria-hidden="true"><path d="M0 .5H{{row.share}}"/></svg>
</li>
% end
</ol>
% elif window:
<div class="empty">
<h3>Nothing was retweeted {{during}}</h3>
<p><a href="/">The ranking of all time</a> has more.</p>
</div>
% else:
<div class="empty">
<svg viewBox="0 0 120 60" width="120" height="60" aria-hidden="true"><path d="M15 48C40 48 35 14 60 14S80 44 105 44"/><circle cx="15" cy="48" r="5"/><circle cx="60" cy="14" r="5"/><circle class="full" cx="105" cy="44" r="6"/></svg>
<h3>Nothing has been said yet</h3>
<p>The first tweet starts the first chain. It may be yours.</p>
<p class="acts"><button type="button" class="main needs-script" data-control="first" data-opens="post">Write the first tweet</button></p>
</div>
% end
</section>

% window = get('window', '')
% rebase('layout.tpl', title='Most retweeted · Simple Twitter', view='top')
<div class="lead">
<h1>Most retweeted</h1>
<p>A retweet counts for every tweet in its chain, back to the original.</p>
<nav class="tabs" aria-label="Time">
% for name, shown in (('', 'All time'), ('year', 'Year'), ('month', 'Month'), ('week', 'Week'), ('day', 'Day')):
<a href="/{{'?window=' + name if name else ''}}"{{!' aria-current="page"' if name == window else ''}}>{{shown}}</a>
% end
</nav>
</div>
<section data-live="5" data-patch tabindex="-1" aria-labelledby="ranking-heading">
<h2 id="ranking-heading" class="unseen">The ranking</h2>
% if get('stale'):
<p class="note">The ranking is temporarily unavailable. You are seeing the last known version.</p>
% end
% if rows:
<ol class="ranking" role="list" data-patch>
% for row in rows:
<li data-id="{{row.id}}"{{!' class="slim"' if row.compact else ''}}>
<p class="rank{{' long' if row.rank > 99 else ''}}"><span class="unseen">Rank </span>{{f'{row.rank:,}'}}</p>
% include('row.tpl', row=row, onto=True)
<svg class="share" viewBox="0 0 100 1" preserveAspectRatio="none" aria-hidden="true"><path d="M0 .5H{{row.share}}"/></svg>
</li>
% end
</ol>
% elif window:
<div class="empty">
<h3>Nothing was retweeted {{during}}</h3>
<p><a href="/">The ranking of all time</a> has more.</p>
</div>
% elif not is_first:
<div class="empty">
<h3>The ranking ends before this page</h3>
</div>
% else:
% include('empty.tpl')
% end
% include('pager.tpl', path='/', part='')
</section>

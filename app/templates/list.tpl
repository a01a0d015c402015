% rebase('layout.tpl', title=heading + ' · Simple Twitter', view=path[1:])
<div class="lead">
<h1>{{heading}}</h1>
<p>{{'All tweets, newest first.' if path == '/newest' else 'All tweets of this user, newest first.'}}</p>
</div>
<section data-live="15" data-patch tabindex="-1" aria-labelledby="list-heading">
<h2 id="list-heading" class="unseen">Tweets</h2>
% if rows:
<ol class="list" role="list" data-patch>
% for row in rows:
<li data-id="{{row.id}}"{{!' class="slim"' if row.compact else ''}}>
% include('row.tpl', row=row, onto=True)
</li>
% end
</ol>
% elif not is_first:
<div class="empty">
<h3>There are no older tweets</h3>
</div>
% else:
% include('empty.tpl')
% end
% include('pager.tpl', part='')
</section>

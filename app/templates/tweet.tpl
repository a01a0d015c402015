% is_gone = target.user_name is None
% rebase('layout.tpl', title=(target.title or 'A deleted tweet') + ' · Simple Twitter')
<div class="lead quiet">
% length = len(chain) + hidden
<h1>{{'An original tweet' if length == 1 else 'A tweet and its chain'}}</h1>
% if length > 1:
<p>{{f'{length:,}'}} tweets, from the original down to <a href="#target">this one</a>.</p>
% end
</div>
<div data-live="15" data-patch tabindex="-1">
<section data-patch aria-labelledby="chain-heading">
<h2 id="chain-heading" class="unseen">The chain</h2>
<ol class="chain" role="list" data-patch>
% for place, row in enumerate(chain):
% if place == folded_at:
<li class="fold"><a href="/tweet/{{unfolds}}?chain=all" data-control="unfold">… {{f'{hidden:,}'}} more in between</a></li>
% end
<li data-id="{{row.id}}"{{!' id="target" class="target"' if row is target else ' class="slim"' if row.compact else ''}}>
% include('row.tpl', row=row, onto=False, is_target=row is target)
</li>
% end
</ol>
</section>
<section id="retweets" data-patch aria-labelledby="retweets-heading">
<h2 id="retweets-heading">{{'Retweets of this tweet' if retweets or not is_first else 'No one has retweeted this tweet yet'}}</h2>
<ol class="list retweets" role="list" data-patch>
% for row in retweets:
<li data-id="{{row.id}}"{{!' class="slim"' if row.compact else ''}}>
% include('row.tpl', row=row, onto=False)
</li>
% end
</ol>
% include('pager.tpl', path='/tweet/' + target.id, part='#retweets')
</section>
</div>
% if picture:
<section class="cascade" aria-labelledby="cascade-heading">
<h2 id="cascade-heading">The cascade below it</h2>
<dl>
<div><dt>Tweets</dt><dd>{{f'{picture.size:,}'}}{{f', {picture.deleted:,} deleted' if picture.deleted else ''}}</dd></div>
<div><dt>Depth</dt><dd>{{f'{picture.depth:,}'}}</dd></div>
<div><dt>Widest level</dt><dd>{{f'{picture.max_breadth:,}'}}</dd></div>
<div><dt>Mean distance</dt><dd>{{f'{picture.mean_distance:.2f}'}}</dd></div>
</dl>
<p>Each tweet is as wide as all that it started, and stands above its retweets.{{' Hatched: too many to draw one by one.' if '<g>' in picture.svg else ''}}</p>
{{!picture.svg}}
<details>
<summary>The same as a table</summary>
<table>
<thead><tr><th scope="col">Depth</th><th scope="col">Tweets</th><th scope="col">Most below</th></tr></thead>
<tbody>
% for depth, count, largest, user_name, below in picture.levels:
<tr><th scope="row">{{depth}}</th><td>{{f'{count:,}'}}</td><td><a href="/tweet/{{largest}}">\\
% if user_name:
<bdi>@{{user_name}}</bdi>\\
% else:
a deleted tweet\\
% end
</a>: {{f'{below:,}'}}</td></tr>
% end
</tbody>
</table>
</details>
</section>
% end
% if not is_gone:
<dialog id="delete" aria-labelledby="delete-heading" closedby="any">
<form method="dialog" action="/" data-method="DELETE" data-call="/api/v1/tweet/{{target.id}}">
<h2 id="delete-heading">Delete this tweet?</h2>
<p class="hint">Its words and its author’s name go for good. Its place in the chain stays, and so do all retweets below it, with their counts. Each tweet above it loses 1.</p>
<p class="fault" role="alert" data-fault=""></p>
% include('token.tpl', name='delete')
<p class="acts"><button type="button" data-closes>Keep it</button><button type="submit" class="main">Delete</button></p>
</form>
</dialog>
% end

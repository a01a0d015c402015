% target = chain[0]
% rebase('layout.tpl', title=(target.title or 'A deleted tweet') + ' · Simple Twitter', static=static)
<div class="lead">
<h1>A tweet and its chain</h1>
% if target.parent:
<p>What it retweets stands below it, down to the tweet that started the chain.</p>
% else:
<p>It retweets nothing: a chain starts here.</p>
% end
</div>
<div data-live="15" data-patch tabindex="-1">
<section data-patch aria-labelledby="chain-heading">
<h2 id="chain-heading" class="unseen">The chain</h2>
<ol class="chain" role="list" data-patch>
% for row in chain:
<li data-id="{{row.id}}"{{!' class="target"' if row.rank == 1 else ''}}>
% include('row.tpl', row=row, onto=False, chain_link=False)
</li>
% end
% if hidden:
<li class="further"><a href="/tweet/{{chain[-1].id}}">{{hidden}} more, further down the chain</a></li>
% end
</ol>
</section>
<section data-patch aria-labelledby="retweets-heading">
<h2 id="retweets-heading">{{'Retweeted by' if retweets else 'Not retweeted here yet'}}</h2>
<ol class="retweets" role="list" data-patch>
% for row in retweets:
<li data-id="{{row.id}}">
% include('row.tpl', row=row, onto=False, chain_link=False)
</li>
% end
% if more:
<li class="further">These are the newest; the API has the others.</li>
% end
</ol>
</section>
</div>
% if picture:
<section class="cascade" aria-labelledby="cascade-heading">
<h2 id="cascade-heading">The cascade below it</h2>
<dl>
<div><dt>Tweets</dt><dd>{{picture.size}}{{', ' + picture.deleted + ' deleted' if picture.deleted else ''}}</dd></div>
<div><dt>Depth</dt><dd>{{picture.depth}}</dd></div>
<div><dt>Widest level</dt><dd>{{picture.max_breadth}}</dd></div>
<div><dt>Mean distance</dt><dd>{{picture.mean_distance}}</dd></div>
</dl>
{{!picture.svg}}
<details>
<summary>The same as a table</summary>
<table>
<thead><tr><th scope="col">Depth</th><th scope="col">Tweets</th><th scope="col">Most below</th></tr></thead>
<tbody>
% for level in picture.levels:
<tr><th scope="row">{{level.depth}}</th><td>{{level.tweets}}</td><td><a href="/tweet/{{level.largest}}">\\
% if level.user_name:
<bdi>@{{level.user_name}}</bdi>\\
% else:
a deleted tweet\\
% end
</a>: {{level.below}}</td></tr>
% end
</tbody>
</table>
</details>
</section>
% end

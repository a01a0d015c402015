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

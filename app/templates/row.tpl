<article class="tweet{{'' if row.user_name else ' gone'}}" aria-labelledby="title-{{row.id}}">
% if row.user_name is None:
<h3 id="title-{{row.id}}"><a href="/tweet/{{row.id}}">A deleted tweet</a></h3>
<p class="by"><time datetime="{{row.created_at}}">{{row.age}}</time></p>
% else:
<h3 id="title-{{row.id}}" dir="auto"><a href="/tweet/{{row.id}}" data-control="open" data-title>{{row.title}}</a></h3>
<p class="by"><bdi data-name>@{{row.user_name}}</bdi> <time datetime="{{row.created_at}}">{{row.age}}</time></p>
% if row.parent and onto:
<p class="onto">retweets <a href="/tweet/{{row.parent}}" data-control="parent">\\
% if row.parent_name:
<bdi>@{{row.parent_name}}</bdi>\\
% else:
a deleted tweet\\
% end
</a></p>
% end
<div class="body" dir="auto">{{row.body}}\\
% if row.more:
… <a href="/tweet/{{row.id}}" data-control="more" aria-describedby="title-{{row.id}}">Read on</a>\\
% end
</div>
<p class="acts">
% if row.received:
<span class="count"><strong>{{row.received}}</strong>{{', ' + row.count + ' in all' if row.count else ''}}</span>
% else:
<span class="count"><strong>{{row.count}}</strong> {{'retweet' if row.count == '1' else 'retweets'}}</span>
% end
<span class="ways">
% if chain_link:
<a href="/tweet/{{row.id}}" data-control="chain" aria-describedby="title-{{row.id}}">Chain</a>
% end
<button type="button" class="needs-script" data-control="retweet" data-opens="retweet" data-tweet="{{row.id}}" aria-describedby="title-{{row.id}}">Retweet</button>
</span>
</p>
% end
</article>

% heading = 'Not just now' if status == 503 else 'Not found' if status in (404, 422) else 'That did not work'
% rebase('layout.tpl', title=heading + ' · Simple Twitter')
<div class="lead">
<h1>{{heading}}</h1>
<p>{{detail}}</p>
% if status == 503:
<p>Nothing is lost. <a href="">Try again</a></p>
% else:
<p><a href="/">Back to Most retweeted</a></p>
% end
</div>

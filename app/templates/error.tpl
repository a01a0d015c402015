% rebase('layout.tpl', title='Not now · Simple Twitter' if repeat else 'Not here · Simple Twitter')
<div class="lead">
<h1>{{'Not just now' if repeat else 'There is nothing here'}}</h1>
<p>{{detail}}</p>
% if repeat:
<p>Nothing is lost. <a href="">Try again</a></p>
% else:
<p><a href="/">Back to Most retweeted</a></p>
% end
</div>

% if not is_first or following:
<nav class="pager" aria-label="Pages">
% if not is_first:
<a href="{{path}}{{part}}">First page</a>
% end
<span>{{get('says', '')}}</span>
% if following:
<a href="{{path}}?cursor={{following}}{{part}}" rel="next">Next page</a>
% end
</nav>
% end

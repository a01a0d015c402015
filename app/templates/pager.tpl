% if first_page or next_page:
<nav class="pager" aria-label="Pages">
% if first_page:
<a href="{{first_page}}">First page</a>
% end
<span>{{says}}</span>
% if next_page:
<a href="{{next_page}}" rel="next">Next page</a>
% end
</nav>
% end

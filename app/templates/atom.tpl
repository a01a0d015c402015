<?xml version="1.0" encoding="utf-8"?>
<feed xmlns="http://www.w3.org/2005/Atom">
<id>tag:simple-twitter,2026:top/{{window}}</id>
<title>Most retweeted {{during}}</title>
<updated>{{until}}</updated>
<link rel="self" type="application/atom+xml" href="/top.atom?window={{window}}"/>
<link rel="alternate" type="text/html" href="/?window={{window}}"/>
% for row in rows:
<entry>
<id>tag:simple-twitter,2026:tweet/{{row.id}}</id>
<title>{{row.received}}: {{row.title}}</title>
<author><name>{{row.user_name}}</name></author>
<published>{{row.created_at}}</published>
<updated>{{row.created_at}}</updated>
<link rel="alternate" type="text/html" href="/tweet/{{row.id}}"/>
<content type="text">{{row.body}}</content>
</entry>
% end
</feed>

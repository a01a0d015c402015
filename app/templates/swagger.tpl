<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>API · Simple Twitter</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="{{static('icon.svg')}}" type="image/svg+xml">
<!-- swagger-ui-dist 5.35.0; the hashes stand in static/vendor/swagger-ui/README.md too -->
<link rel="stylesheet" href="{{static('vendor/swagger-ui/swagger-ui.css')}}" integrity="sha384-WlYgdmXYOOBWL5apwjDEZwN+U3HmXSSu5R6V5aGxEcf7z+KuRNwBhoxKVN1i3D5I">
<link rel="stylesheet" href="{{static('swagger.css')}}">
<script defer src="{{static('vendor/swagger-ui/swagger-ui-bundle.js')}}" integrity="sha384-gjRm0bEPMeTmMh5jT2cHccIwCUZSTd8YC+j0d0sXw0MdGEfScduGpSyF3ZSSLkX9"></script>
<script defer src="{{static('swagger.js')}}"></script>
</head>
<body>
<header class="bar"><a href="/">Simple Twitter</a> <a href="/api/v1/openapi.json">openapi.json</a></header>
<div id="swagger-ui"></div>
<noscript><p class="bar">This page needs JavaScript. The description of the API is <a href="/api/v1/openapi.json">openapi.json</a>.</p></noscript>
</body>
</html>

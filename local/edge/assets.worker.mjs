// Serves the static files of the Worker where it runs on plain workerd, as the platform does: workerd's disk service knows no media
// types, and no index of a folder.
const TYPES = {
  css: "text/css; charset=utf-8",
  html: "text/html; charset=utf-8",
  js: "text/javascript; charset=utf-8",
  md: "text/markdown; charset=utf-8",
  txt: "text/plain; charset=utf-8",
};

export default {
  async fetch(request, { FILES }) {
    const { pathname } = new URL(request.url);
    const path = pathname === "/docs" || pathname === "/docs/" ? "/docs/index.html" : pathname;
    const type = TYPES[path.slice(path.lastIndexOf(".") + 1)];
    if (type === undefined) return new Response(null, { status: 404 });
    const file = await FILES.fetch(new Request(`http://files${path}`, { method: request.method }));
    if (!file.ok) return new Response(null, { status: 404 });
    return new Response(file.body, { headers: { "content-type": type, "cache-control": "no-cache" } });
  },
};

// Answers requests for directories with what the lister says, over HTTP, as the server would.
import { execFileSync } from "node:child_process";
import { createServer } from "node:http";

// Lists what is below `root` on a free port of the loopback interface; gives the server and where it is.
export async function serve(lister, root) {
  const policy = policyOf(lister, root);
  const server = createServer((request, response) => {
    const [path, query = ""] = request.url.split("?");
    if (!path.endsWith("/")) {
      response.writeHead(404).end();
      return;
    }
    const relative = decodeURIComponent(path).slice(1, -1);
    const page = execFileSync(lister, [root, relative, query], { maxBuffer: 1 << 30, stdio: ["ignore", "pipe", "ignore"] });
    response.writeHead(200, {
      "Content-Type": "text/html; charset=utf-8",
      "Content-Security-Policy": policy,
    });
    response.end(page);
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  return { server, origin: `http://127.0.0.1:${server.address().port}` };
}

function policyOf(lister, root) {
  return execFileSync("/bin/sh", ["-c", '"$0" "$1" 2>&1 >/dev/null', lister, root], { encoding: "utf8" }).trim();
}

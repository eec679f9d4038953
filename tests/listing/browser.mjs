// A headless Chromium, driven over a pipe by the DevTools protocol.
import { spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const PATIENCE_MS = 60_000;

export class Browser {
  #process;
  #profile = mkdtempSync(join(tmpdir(), "listing-browser-"));
  #waiting = new Map();
  #listeners = new Map();
  #lastId = 0;
  #session;
  #rest = "";
  // What the page complained about, such as something that its policy forbids.
  complaints = [];

  static async start() {
    const browser = new Browser();
    browser.#spawn();
    const { targetId } = await browser.#call("Target.createTarget", { url: "about:blank" });
    const { sessionId } = await browser.#call("Target.attachToTarget", { targetId, flatten: true });
    browser.#session = sessionId;
    for (const domain of ["Page", "Runtime", "Log"]) {
      await browser.send(`${domain}.enable`);
    }
    browser.#listeners.set("Log.entryAdded", ({ entry }) => browser.#hear(entry));
    return browser;
  }

  #spawn() {
    const flags = [
      "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-quic", "--disable-sync",
      "--disable-background-networking", "--disable-component-update", "--no-proxy-server", "--hide-scrollbars",
      "--remote-debugging-pipe", `--user-data-dir=${this.#profile}`,
    ];
    const stdio = ["ignore", "ignore", "ignore", "pipe", "pipe"];
    this.#process = spawn("chromium", flags, { stdio });
    const input = this.#process.stdio[4];
    input.setEncoding("utf8");
    input.on("data", (data) => this.#take(data));
  }

  // An icon that is not there is nobody's fault.
  #hear({ text, url }) {
    if (!url?.endsWith("/favicon.ico")) {
      this.complaints.push(text);
    }
  }

  // Messages end in NUL.
  #take(data) {
    const messages = (this.#rest + data).split("\0");
    this.#rest = messages.pop();
    for (const text of messages) {
      const message = JSON.parse(text);
      if (message.id) {
        this.#waiting.get(message.id)?.(message);
        this.#waiting.delete(message.id);
      } else {
        this.#listeners.get(message.method)?.(message.params);
      }
    }
  }

  #call(method, params = {}, sessionId = undefined) {
    const id = ++this.#lastId;
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`${method}: no answer`)), PATIENCE_MS);
      this.#waiting.set(id, ({ result, error }) => {
        clearTimeout(timer);
        error ? reject(new Error(`${method}: ${error.message}`)) : resolve(result);
      });
      this.#process.stdio[3].write(`${JSON.stringify({ id, method, params, sessionId })}\0`);
    });
  }

  send(method, params) {
    return this.#call(method, params, this.#session);
  }

  // Looks at the page as somebody would who has such a screen and such a taste.
  async look(url, { width, height, scheme }) {
    const metrics = { width, height, deviceScaleFactor: width < 600 ? 2 : 1, mobile: width < 600 };
    await this.send("Emulation.setDeviceMetricsOverride", metrics);
    await this.send("Emulation.setEmulatedMedia", { features: [{ name: "prefers-color-scheme", value: scheme }] });
    const loaded = new Promise((resolve) => this.#listeners.set("Page.loadEventFired", resolve));
    await this.send("Page.navigate", { url });
    await loaded;
  }

  async evaluate(expression) {
    const answer = await this.send("Runtime.evaluate", { expression, awaitPromise: true, returnByValue: true });
    if (answer.exceptionDetails) {
      throw new Error(answer.exceptionDetails.exception?.description ?? answer.exceptionDetails.text);
    }
    return answer.result.value;
  }

  async screenshot() {
    const { data } = await this.send("Page.captureScreenshot", { format: "png" });
    return Buffer.from(data, "base64");
  }

  async stop() {
    const ended = new Promise((resolve) => this.#process.once("exit", resolve));
    this.#call("Browser.close").catch(() => {});
    await ended;
    rmSync(this.#profile, { recursive: true, force: true, maxRetries: 10, retryDelay: 100 });
  }
}

// The search runs in a worker, and Chromium starts no worker from a file. For pages that are read from a folder, this class
// runs the script in a hidden frame. It has what the search uses: messages in both directions, errors, and an end.
if (location.protocol === "file:") {
  window.Worker = class {
    #frame = document.createElement("iframe");
    #waiting = [];

    constructor(url) {
      this.#frame.hidden = true;
      this.#frame.title = "Search";
      document.body.append(this.#frame);
      const inside = this.#frame.contentWindow;
      const script = inside.document.createElement("script");
      inside.postMessage = (data) => setTimeout(() => this.onmessage?.(new MessageEvent("message", { data })));
      script.onload = () => this.#waiting.splice(0).forEach((data) => this.#deliver(data));
      script.onerror = () => this.onerror?.(new ErrorEvent("error", { cancelable: true }));
      script.src = new URL(url, location);
      inside.document.head.append(script);
    }

    postMessage(data) {
      const copy = structuredClone(data);
      const { onmessage } = this.#frame.contentWindow ?? {};
      if (onmessage) this.#deliver(copy);
      else this.#waiting.push(copy);
    }

    #deliver(data) {
      setTimeout(() => this.#frame.contentWindow?.onmessage(new MessageEvent("message", { data })));
    }

    terminate() {
      this.#frame.remove();
    }
  };
}

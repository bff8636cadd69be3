// The search of the theme (zensical) runs in a worker, and finds the sections that have all words of a question. This script
// replaces the class `Worker`, and adds three things:
// - FrameWorker: the search also runs in pages that are read from a folder
// - Passages: a question that no section has whole finds those that have most of it, and a message that is pasted with its names
//   and numbers finds its entry in Troubleshooting
// - the page that such a result leads to marks that entry
(() => {
  // Chromium starts no worker from a file. This class runs the script in a hidden frame. It has what the search uses:
  // messages in both directions, errors, and an end.
  class FrameWorker {
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
  }

  // Types of messages between the page and the worker of zensical 0.0.73.
  const INDEX = 0, QUESTION = 2, RESULTS_OF_QUESTION = 3;

  const PREFIX = /^\s*ezeep: /;
  const LONGEST = 4000; // characters of a question that are read: the search runs with each key, and some patterns are quadratic
  // What is not in the text of the entry: prefix, escaped characters, method of a request, quoted names, addresses, paths, file names, ids, numbers.
  const OWN = [
    PREFIX,
    /&(amp|lt|gt);/g,
    /\b[A-Z]+ (?=\/)/g,
    /(?<![\p{L}\p{N}])(['"‘“])(?=\S).*?\S?['"’”](?![\p{L}\p{N}])/gu,
    /(?<!\S)[^\s@]*@\S+\.\S+/g,
    /(?<!\S)[^\s/\\]*[/\\]\S*/g,
    /(?<!\S)\S*?\p{L}\.\p{L}\S*/gu,
    /(?<![\p{L}\p{N}])(?=\p{L}*\d)[\p{L}\d]+/gu,
  ];
  const WORD = /<[^>]*>|&\w+;|\p{L}[\p{L}\p{N}]*/gu;
  const LENGTHS = [1, 2, 3]; // of the phrases that count
  const WINDOW = 40; // words: an entry of Troubleshooting has about as many
  const WHOLE = 0.5; // share of the weight of a question: a section with more of it has the message
  const SHORT = 4; // words: shorter questions are left to the theme, unless it finds nothing
  const LONG = 6; // words: the theme marks the words of a question everywhere on a page, which is too much from here on
  const ENTRY_FACTOR = 1.25; // an entry of Troubleshooting comes before another page with up to this much more
  const RESULTS = 10;

  const words = (text, field) =>
    [...text.matchAll(WORD)]
      .filter(([word]) => !/^[<&]/.test(word))
      .map(({ 0: word, index }) => ({ word: word.toLowerCase(), field, start: index, end: index + word.length }));

  // The sections that have most of a text, best first. Rare words count more than frequent ones, phrases count in addition to
  // their words. Of each section, its title counts and the best passage of WINDOW words.
  class Passages {
    #sections;
    #weights = new Map();

    constructor(items) {
      this.#sections = items.map(({ location, title, text }) => ({
        isTroubleshooting: location.includes("/troubleshooting/"),
        title: new Set(words(title).map(({ word }) => word)),
        words: [...words(title, "title"), ...words(text, "text")],
      }));
      for (const section of this.#sections)
        for (const word of new Set(section.words.map(({ word }) => word)))
          this.#weights.set(word, (this.#weights.get(word) ?? 0) + 1);
      for (const [word, count] of this.#weights) this.#weights.set(word, Math.log((1 + items.length) / count));
    }

    find(text, isMessage) {
      const known = (text) => words(text).map(({ word }) => word).filter((word) => this.#weights.has(word));
      let asked = known(OWN.reduce((text, own) => text.replace(own, " "), text));
      if (!asked.length) asked = known(text);
      const wanted = new Map(asked.map((word) => [word, this.#weights.get(word)]));
      for (const length of LENGTHS.slice(1))
        for (let n = 0; n + length <= asked.length; n++) {
          const phrase = asked.slice(n, n + length);
          wanted.set(phrase.join(" "), phrase.reduce((sum, word) => sum + wanted.get(word), 0));
        }
      const all = [...wanted.values()].reduce((sum, weight) => sum + weight, 0);
      return this.#sections
        .map((section, id) => {
          const { score, ranges } = this.#best(section.words, wanted);
          const named = [...section.title].reduce((sum, word) => sum + (wanted.get(word) ?? 0), 0);
          const share = (score + named) / all;
          const isEntry = section.isTroubleshooting && (isMessage || share > WHOLE);
          return { id, ranges, share: isEntry ? ENTRY_FACTOR * share : share };
        })
        .filter(({ share }) => share > 0)
        .sort((a, b) => b.share - a.share || a.id - b.id)
        .slice(0, RESULTS);
    }

    // The passage that has most of the wanted words and phrases: a window of WINDOW words moves over the section, and each word
    // or phrase in it counts once.
    #best(words, wanted) {
      const hits = [];
      words.forEach(({ word }, n) => {
        if (!wanted.has(word)) return;
        for (const length of LENGTHS.filter((length) => length <= n + 1)) {
          const what = words.slice(n + 1 - length, n + 1).map(({ word }) => word).join(" ");
          if (wanted.has(what)) hits.push({ n, what });
        }
      });
      const times = new Map();
      let best = 0, from = 0, to = 0, score = 0, first = 0;
      for (const { n, what } of hits) {
        if (!times.get(what)) score += wanted.get(what);
        times.set(what, (times.get(what) ?? 0) + 1);
        for (; hits[first].n <= n - WINDOW; first++) {
          const left = times.get(hits[first].what) - 1;
          times.set(hits[first].what, left);
          if (!left) score -= wanted.get(hits[first].what);
        }
        if (score > best + 1e-9) [best, from, to] = [score, hits[first].n, n + 1];
      }
      return { score: best, ranges: words.slice(from, to).filter(({ word }) => wanted.has(word)) };
    }
  }

  // A long question has led to this page: show its entry, instead of marking each of its words everywhere.
  const address = new URL(location);
  const question = (address.searchParams.get("h") ?? "").slice(0, LONGEST);
  if (PREFIX.test(question) || words(question).length >= LONG) {
    address.searchParams.delete("h");
    history.replaceState(null, "", address);
    addEventListener("load", () => {
      const entries = [...document.querySelectorAll("dt")];
      const texts = entries.map(({ innerHTML }) => ({ location: "", title: "", text: innerHTML }));
      const [best] = new Passages(texts).find(question);
      if (!(best?.share > WHOLE)) return;
      const mark = document.createElement("mark");
      const entry = entries[best.id].querySelector("code") ?? entries[best.id]; // it has a background of its own
      mark.append(...entry.childNodes);
      entry.append(mark);
      mark.scrollIntoView({ block: "center" });
    });
  }

  const Basis = location.protocol === "file:" ? FrameWorker : window.Worker;
  window.Worker = class {
    #worker;
    #items = [];
    #passages;
    #questions = [];

    constructor(url) {
      this.#worker = new Basis(url);
      this.#worker.onmessage = ({ data }) => this.onmessage?.(new MessageEvent("message", { data: this.#improved(data) }));
      this.#worker.onerror = (event) => this.onerror?.(event);
      this.#worker.onmessageerror = (event) => this.onmessageerror?.(event);
    }

    postMessage(message) {
      if (message.type === INDEX) this.#items = message.data.items;
      if (message.type === QUESTION) this.#questions.push(message.data);
      this.#worker.postMessage(message);
    }

    // The results, or sections that have most of the words if none has all.
    #improved(message) {
      const question = message.type === RESULTS_OF_QUESTION ? this.#questions.shift() : undefined;
      if (typeof question?.input !== "string" || question.filter?.input.data.operands.length) return message;
      const text = question.input.slice(0, LONGEST);
      const isMessage = PREFIX.test(text);
      const found = message.data.pagination.total > 0;
      if (found && !isMessage && words(text).length < SHORT) return message;
      this.#passages ??= new Passages(this.#items);
      const best = this.#passages.find(text, isMessage);
      if (found && !isMessage && !(best[0]?.share > WHOLE)) return message;
      const items = best.map(({ id, ranges }) => ({
        id,
        matches: ["title", "text"].map((field) => ({
          id,
          field,
          value: {
            highlight: {
              ranges: ranges
                .filter((range) => range.field === field)
                .map(({ start, end }) => ({ start, end, value: end - start })),
            },
          },
        })),
      }));
      return { ...message, data: { ...message.data, items, pagination: { total: items.length } } };
    }

    terminate() {
      this.#worker.terminate();
    }
  };
})();

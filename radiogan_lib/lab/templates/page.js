"use strict";
/* The live page. Three parts: 1. the generator in plain JavaScript; 2. the worker that runs it; 3. the page around it.
   The page runs this file twice: once itself, once as a worker (from a Blob), so that drawing never blocks a click.
   radiogan_lib/lab/page.py writes the graph and the weights that part 1 reads, and puts this file into page.html. */

// ---- 1. The generator ---------------------------------------------------------------------------------------------

/** The noise of a seed: NumPy's default_rng(seed).standard_normal(length), so that a seed means the same z in Python. */
function noise(seed, length) {
  const next = pcg64(seed);
  const uniform = () => Number(next() >> 11n) / 2 ** 53;
  const { x, threshold, height } = ZIGGURAT;
  return Float64Array.from({ length }, () => {
    for (;;) {
      const bits = next();
      const layer = Number(bits & 255n);
      const fraction = Number((bits >> 9n) & 0xfffffffffffffn);
      const value = (fraction / 2 ** 52) * x[layer];
      const sign = bits & 256n ? -1 : 1;
      if (fraction < threshold[layer]) return sign * value;
      if (layer === 0) {
        for (;;) { // the tail beyond the last layer
          const out = -Math.log1p(-uniform()) / ZIGGURAT.tail;
          const up = -Math.log1p(-uniform());
          if (up + up > out * out) return (fraction & 256 ? -1 : 1) * (ZIGGURAT.tail + out);
        }
      }
      if ((height[layer - 1] - height[layer]) * uniform() + height[layer] < Math.exp(-0.5 * value * value)) return sign * value;
    }
  });
}

/** Tables of the ziggurat method (Marsaglia & Tsang, 2000) with 256 layers of equal area. */
const ZIGGURAT = (() => {
  const tail = 3.6541528853610088, area = 0.00492867323399;
  const density = v => Math.exp(-0.5 * v * v);
  const x = new Float64Array(256), threshold = new Float64Array(256), height = new Float64Array(256);
  x[255] = tail;
  for (let k = 254; k > 0; k--) x[k] = Math.sqrt(-2 * Math.log(area / x[k + 1] + density(x[k + 1])));
  for (let k = 2; k < 256; k++) threshold[k] = (x[k - 1] / x[k]) * 2 ** 52;
  threshold[0] = ((tail * density(tail)) / area) * 2 ** 52;
  for (let k = 0; k < 256; k++) height[k] = k ? density(x[k]) : 1;
  x[0] = area / density(tail);
  return { tail, x, threshold, height };
})();

/** A source of 64 random bits: PCG64 (O'Neill, 2014), seeded as NumPy's SeedSequence does. */
function pcg64(seed) {
  const pool = new Uint32Array(4), words = new Uint32Array(8);
  let constant = 0x43b0d7e5;
  const hash = value => {
    value ^= constant;
    constant = Math.imul(constant, 0x931e8875);
    value = Math.imul(value, constant);
    return value ^ (value >>> 16);
  };
  for (let k = 0; k < 4; k++) pool[k] = hash(k ? 0 : seed);
  for (let from = 0; from < 4; from++) {
    for (let to = 0; to < 4; to++) {
      if (from === to) continue;
      const mixed = Math.imul(0xca01f9dd, pool[to]) - Math.imul(0x4973f715, hash(pool[from]));
      pool[to] = mixed ^ (mixed >>> 16);
    }
  }
  constant = 0x8b51f9dd;
  for (let k = 0; k < 8; k++) {
    let value = pool[k % 4] ^ constant;
    constant = Math.imul(constant, 0x58f38ded);
    value = Math.imul(value, constant);
    words[k] = value ^ (value >>> 16);
  }
  const wide = k => (BigInt(words[k + 1]) << 96n) | (BigInt(words[k]) << 64n) | (BigInt(words[k + 3]) << 32n) | BigInt(words[k + 2]);
  const multiplier = 0x2360ed051fc65da44385df649fccf645n;
  const step = (wide(4) << 1n) | 1n;
  const advance = state => BigInt.asUintN(128, state * multiplier + step);
  let state = advance(BigInt.asUintN(128, step + wide(0)));
  return () => {
    state = advance(state);
    const bits = BigInt.asUintN(64, (state >> 64n) ^ state), turn = state >> 122n;
    return BigInt.asUintN(64, (bits >> turn) | (bits << (64n - turn)));
  };
}

/** Half-precision numbers as doubles. */
function halves(bits) {
  const out = new Float64Array(bits.length);
  for (let k = 0; k < bits.length; k++) out[k] = HALF[bits[k]];
  return out;
}

/** What each of the 65,536 half-precision patterns means. */
const HALF = Float64Array.from({ length: 65536 }, (_, bits) => {
  const exponent = (bits >> 10) & 31, digits = bits & 1023;
  const size = exponent ? 2 ** (exponent - 15) * (1 + digits / 1024) : digits * 2 ** -24;
  return bits & 0x8000 ? -size : size;
});

/** The bytes of a base64 text. */
function bytes(text) {
  const letters = atob(text), out = new Uint8Array(letters.length);
  for (let k = 0; k < out.length; k++) out[k] = letters.charCodeAt(k);
  return out;
}

/** The generator: `draw(z, label)` → pixel values, row by row. A label is a blend {a, b, share} of two classes. */
class Generator {
  constructor(graph, buffer) {
    this.graph = graph;
    this.weights = graph.arrays.map(({ type, offset, length }) => type === "float16"
      ? halves(new Uint16Array(buffer, offset, length))
      : Float64Array.from(new Float32Array(buffer, offset, length)));
  }

  draw(z, label) {
    const values = {};
    const of = k => this.weights[k];
    for (const op of this.graph.ops) {
      const [first, second] = op.from.map(name => values[name]);
      values[op.name] =
        op.op === "noise" ? z
        : op.op === "label" ? label
        : op.op === "embedding" ? blend(of(op.table), op.width, first)
        : op.op === "dense" ? activate(dense(first, of(op.kernel), of(op.bias)), op)
        : op.op === "conv" ? convolve(first, op, of(op.kernel), of(op.bias))
        : op.op === "concatenate" ? concatenate(first, second, op.widths)
        : op.op === "decode" ? decode(first, op)
        : fail(op.op);
    }
    return values[this.graph.ops.at(-1).name];
  }
}

function fail(name) {
  throw new Error(`this page cannot compute ${name}; write it again with the program that goes with it`);
}

function blend(table, width, { a, b, share }) {
  return Float64Array.from({ length: width }, (_, k) => (1 - share) * table[a * width + k] + share * table[b * width + k]);
}

function dense(x, kernel, bias) {
  const out = bias.slice(), width = out.length;
  for (let i = 0, k = 0; i < x.length; i++) for (let j = 0; j < width; j++, k++) out[j] += x[i] * kernel[k];
  return out;
}

function concatenate(x, y, [wide, narrow]) {
  const out = new Float64Array(x.length + y.length);
  for (let k = 0, i = 0, j = 0; k < out.length; i += wide, j += narrow) {
    out.set(x.subarray(i, i + wide), k);
    out.set(y.subarray(j, j + narrow), k + wide);
    k += wide + narrow;
  }
  return out;
}

/** ReLU and its leaky form are a slope below zero; 1 leaves the values as they are. */
function activate(x, { slope }) {
  for (let k = 0; k < x.length; k++) x[k] = x[k] < 0 ? slope * x[k] : x[k];
  return x;
}

/** A transposed convolution. Every output pixel of one phase (row and column parity at stride 2) takes the same taps,
    so a phase is one matrix product. It is computed four channels by two pixels at a time, which keeps the sums in registers. */
function convolve(x, op, kernel, bias) {
  const { input: [h, w, depth], output: [rows, cols, width], pad: [top, left, bottom, right], stride } = op;
  const line = (w + left + right) * depth;
  const padded = new Float64Array((h + top + bottom) * line + 2 * depth * stride);
  for (let r = 0; r < h; r++) padded.set(x.subarray(r * w * depth, (r + 1) * w * depth), (r + top) * line + left * depth);
  const out = new Float64Array(rows * cols * width);
  for (const { row, column, taps, start } of op.phases) {
    const offsets = Int32Array.from(taps, ([dy, dx]) => (dy + top) * line + (dx + left) * depth);
    const place = { padded, kernel, offsets, depth, line, out, row, column, stride, rows, cols, width, slope: op.slope };
    let channel = 0, weight = start;
    for (; channel + 4 <= width; channel += 4, weight += 4 * taps.length * depth) fourChannels(place, channel, weight, bias);
    for (; channel < width; channel++, weight += taps.length * depth) oneChannel(place, channel, weight, bias);
  }
  return out;
}

function fourChannels({ padded, kernel, offsets, depth, line, out, row, column, stride, rows, cols, width, slope }, channel, weight, bias) {
  const b0 = bias[channel], b1 = bias[channel + 1], b2 = bias[channel + 2], b3 = bias[channel + 3];
  for (let r = row, y = 0; r < rows; r += stride, y++) {
    for (let c = column, x = 0; c < cols; c += 2 * stride, x += 2) {
      let p0 = b0, p1 = b1, p2 = b2, p3 = b3, q0 = b0, q1 = b1, q2 = b2, q3 = b3;
      const from = y * line + x * depth;
      for (let t = 0, k = weight; t < offsets.length; t++) {
        const first = from + offsets[t], last = first + depth;
        for (let i = first; i < last; i++, k += 4) {
          const p = padded[i], q = padded[i + depth];
          const w0 = kernel[k], w1 = kernel[k + 1], w2 = kernel[k + 2], w3 = kernel[k + 3];
          p0 += p * w0; p1 += p * w1; p2 += p * w2; p3 += p * w3;
          q0 += q * w0; q1 += q * w1; q2 += q * w2; q3 += q * w3;
        }
      }
      let o = (r * cols + c) * width + channel;
      out[o] = p0 < 0 ? slope * p0 : p0;
      out[o + 1] = p1 < 0 ? slope * p1 : p1;
      out[o + 2] = p2 < 0 ? slope * p2 : p2;
      out[o + 3] = p3 < 0 ? slope * p3 : p3;
      if (c + stride < cols) {
        o += stride * width;
        out[o] = q0 < 0 ? slope * q0 : q0;
        out[o + 1] = q1 < 0 ? slope * q1 : q1;
        out[o + 2] = q2 < 0 ? slope * q2 : q2;
        out[o + 3] = q3 < 0 ? slope * q3 : q3;
      }
    }
  }
}

function oneChannel({ padded, kernel, offsets, depth, line, out, row, column, stride, rows, cols, width, slope }, channel, weight, bias) {
  for (let r = row, y = 0; r < rows; r += stride, y++) {
    for (let c = column, x = 0; c < cols; c += 2 * stride, x += 2) {
      let p = bias[channel], q = p;
      const from = y * line + x * depth;
      for (let t = 0, k = weight; t < offsets.length; t++) {
        const first = from + offsets[t], last = first + depth;
        for (let i = first; i < last; i++, k++) {
          const w = kernel[k];
          p += padded[i] * w;
          q += padded[i + depth] * w;
        }
      }
      out[(r * cols + c) * width + channel] = p < 0 ? slope * p : p;
      if (c + stride < cols) out[(r * cols + c + stride) * width + channel] = q < 0 ? slope * q : q;
    }
  }
}

/** tanh, and from grey values to the unit of the exams. */
function decode(x, { curve, maximum }) {
  const out = new Float32Array(x.length);
  for (let k = 0; k < x.length; k++) {
    const grey = (Math.tanh(x[k]) + 1) / 2;
    out[k] = maximum * (curve === "sqrt" ? grey * grey : grey);
  }
  return out;
}

/** The point of a walk: z and the blend of labels. `t` runs from 0 (A) to 1 (B); evaluation.walk has the same kinds. */
function point({ a, b, seedA, seedB, kind, t, share, truncation, push }, length) {
  const from = noise(seedA, length);
  let z = from;
  if (kind === "paper") {
    z = new Float64Array(length);
    z[0] = 1 + 9 * t;
  } else if (kind !== "label") {
    const to = noise(seedB, length);
    z = kind === "slerp" ? slerp(from, to, t) : from.map((v, k) => (1 - t) * v + t * to[k]);
  }
  z = z.map((v, k) => truncation * v + (push ? push[k] : 0));
  return { z, label: { a, b: kind === "paper" ? a : b, share: kind === "paper" ? 0 : share } };
}

/** Along the sphere: the direction turns evenly, the length is blended. */
function slerp(x, y, t) {
  const dot = (u, v) => u.reduce((sum, value, k) => sum + value * v[k], 0);
  const long = Math.sqrt(dot(x, x)), far = Math.sqrt(dot(y, y));
  const angle = Math.acos(Math.max(-1, Math.min(1, dot(x, y) / Math.max(long * far, 1e-12))));
  if (Math.sin(angle) < 1e-4) return x.map((v, k) => (1 - t) * v + t * y[k]);
  const length = ((1 - t) * long + t * far) / Math.sin(angle);
  const first = (length * Math.sin((1 - t) * angle)) / long, second = (length * Math.sin(t * angle)) / far;
  return x.map((v, k) => first * v + second * y[k]);
}

// ---- 2. The worker: gets the graph once, then one place at a time, and answers with the picture --------------------

if (typeof WorkerGlobalScope !== "undefined") {
  let generator = null, length = 0;
  self.onmessage = ({ data }) => {
    if (data.graph) {
      generator = new Generator(data.graph, data.buffer);
      length = data.length;
      return;
    }
    const started = performance.now();
    const { z, label } = point(data.place, length);
    const values = generator.draw(z, label);
    self.postMessage({ key: data.key, values, ms: performance.now() - started }, [values.buffer]);
  };
}

// ---- 3. The page -----------------------------------------------------------------------------------------------------

if (typeof document !== "undefined") start();

function start() {
  const get = id => document.getElementById(id);
  const facts = JSON.parse(get("facts").textContent);
  const [rows, cols] = facts.size;
  const last = 90, frames = 10; // slider steps; the ten frames A to J of the paper's Fig. 5 are every tenth
  const controls = ["a", "b", "seedA", "seedB", "step", "kind", "follow", "share", "truncation",
    "direction", "amount", "white", "black", "invert", "grid"];
  const defaults = {};

  // The state is what the controls say; the address repeats what differs from the start
  const value = id => get(id).type === "checkbox" ? get(id).checked : get(id).type === "select-one" ? get(id).value : Number(get(id).value);
  const set = (id, v) => { if (get(id).type === "checkbox") get(id).checked = v === true || v === "true"; else get(id).value = v; };
  const className = k => facts.classes[k];
  const letter = step => String.fromCharCode(65 + Math.round((step / last) * (frames - 1)));
  const amountOf = v => v.toFixed(facts.maximum > 2 ? 1 : 2);

  for (const id of ["a", "b", "gridClass"]) facts.classes.forEach((name, k) => get(id).add(new Option(name, k)));
  for (const [id, k] of [["a", facts.start[0]], ["b", facts.start[1]], ["gridClass", facts.start[0]]]) set(id, k);
  for (const id of ["white", "black"]) set(id, facts.window[id === "white" ? 0 : 1]);
  controls.forEach(id => { defaults[id] = value(id); });

  function place(step) {
    const a = Number(value("a")), number = Number(value("direction"));
    const t = step / last, amount = value("amount");
    const push = number ? facts.directions[a][number - 1]?.map(v => amount * v) ?? null : null;
    return { a, b: Number(value("b")), seedA: value("seedA"), seedB: value("seedB"), kind: value("kind"), t,
      share: value("follow") ? t : value("share") / 100, truncation: value("truncation"), push: amount ? push : null };
  }

  // Drawing: the picture that is wanted comes first, then what fills the strip, the grid and the neighbours
  const made = new Map(), times = [];
  let wanted = null, background = [], busy = false;
  const worker = new Worker(URL.createObjectURL(new Blob([get("program").textContent], { type: "text/javascript" })));
  const { buffer } = bytes(get("weights").textContent);
  worker.postMessage({ graph: facts.graph, buffer, length: facts.noise }, [buffer]);
  worker.onerror = event => say(`The generator could not be run: ${event.message}.`);
  worker.onmessage = ({ data }) => {
    busy = false;
    times.push(data.ms);
    made.set(data.key, data.values);
    if (made.size > 500) made.delete(made.keys().next().value);
    if (wanted?.key === data.key) wanted.done(data.values);
    for (const job of background.filter(j => j.key === data.key)) job.done(data.values);
    background = background.filter(j => j.key !== data.key);
    if (wanted?.key === data.key) wanted = null;
    next();
  };
  function next() {
    const job = wanted ?? background[0];
    if (busy || !job) return;
    busy = true;
    worker.postMessage({ key: job.key, place: job.place });
  }
  function draw(where, done, role) {
    const key = JSON.stringify(where);
    if (made.has(key)) return done(made.get(key));
    if (role === "show") wanted = { key, place: where, done };
    else background.push({ key, place: where, done, role });
    next();
  }

  function paint(canvas, values, height = rows, width = cols) {
    const low = value("white"), scale = 255 / Math.max(value("black") - low, 1e-6), invert = value("invert");
    canvas.width = width;
    canvas.height = height;
    const image = new ImageData(width, height), pixels = new Uint32Array(image.data.buffer);
    for (let k = 0; k < pixels.length; k++) {
      const dark = Math.max(0, Math.min(255, (values[k] - low) * scale));
      pixels[k] = 0xff000000 | (Math.round(invert ? dark : 255 - dark) * 0x10101);
    }
    canvas.getContext("2d").putImageData(image, 0, 0);
  }

  // The picture, the strip of ten frames below it, and the words
  let shown = null, speaking = 0;
  const strip = Array.from({ length: frames }, (_, k) => tile(get("strip"), letter((k * last) / (frames - 1)),
    `Frame ${letter((k * last) / (frames - 1))}`, () => { set("step", (k * last) / (frames - 1)); show(); }));

  function tile(list, words, name, click) {
    const button = document.createElement("button"), item = document.createElement("li"), canvas = document.createElement("canvas");
    Object.assign(button, { type: "button", onclick: click });
    Object.assign(canvas, { width: cols, height: rows });
    button.setAttribute("aria-label", name);
    button.append(canvas, words);
    item.append(button);
    list.append(item);
    return { button, canvas, values: null };
  }

  function show() {
    const step = value("step"), where = place(step), key = JSON.stringify(where);
    get("step").setAttribute("aria-valuetext", `${Math.round((100 * step) / last)} % of the way, frame ${letter(step)}`);
    strip.forEach((s, k) => s.button.setAttribute("aria-current", k === Math.round((step / last) * (frames - 1))));
    draw(where, values => {
      shown = values;
      paint(get("picture"), values);
      get("picture").dataset.place = key;
      if (!times.first) times.first = performance.now();
      setTimeout(() => { if (shown === values) describe(step); }, 0);
    }, "show");
    background = background.filter(j => j.role !== "near");
    for (const beside of [1, -1, 2, -2]) if (step + beside >= 0 && step + beside <= last) draw(place(step + beside), () => {}, "near");
  }

  function refresh() {
    background = background.filter(j => j.role !== "strip");
    show();
    strip.forEach((s, k) => draw(place((k * last) / (frames - 1)), values => paint(s.canvas, values), "strip"));
    get("endA").textContent = `A: ${className(value("a"))}, seed ${value("seedA")}`;
    get("endB").textContent = `B: ${className(value("b"))}, seed ${value("seedB")}`;
    get("share").disabled = value("follow") || value("kind") === "paper";
    for (const id of ["b", "seedB", "follow"]) get(id).disabled = value("kind") === "paper";
    if (value("kind") === "label") get("seedB").disabled = true;
    get("amount").disabled = value("direction") === "0";
    for (const id of ["truncation", "amount", "share"]) get(`${id}Value`).textContent = id === "share" ? `${Math.round(place(value("step")).share * 100)} %` : value(id).toFixed(1);
  }

  function describe(step) {
    const where = place(step), kind = facts.kinds[where.kind];
    const top = shown.indexOf(Math.max(...shown)), percent = Math.round((100 * step) / last);
    const who = where.kind === "paper" ? `${className(where.a)}, z = [${(1 + 9 * where.t).toFixed(1)}, 0, …, 0]`
      : `${className(where.a)} → ${className(where.b)}, ${percent} % of the way, ${where.kind === "label" ? `seed ${where.seedA}` : `seeds ${where.seedA} and ${where.seedB}`}`;
    let words = `Generated: ${who} (${kind}). Highest ${facts.unit} ${amountOf(shown[top])}.`;
    if (!value("follow") && where.kind !== "paper") words += ` Label: ${Math.round(100 * where.share)} % of ${className(where.b)}.`;
    if (where.push) words += ` Moved ${value("amount").toFixed(1)} along direction ${value("direction")}.`;
    words += nearest();
    get("caption").textContent = words;
    get("shareValue").textContent = `${Math.round(where.share * 100)} %`;
    magnify();
    clearTimeout(speaking);
    speaking = setTimeout(() => { say(words); keep(); }, 400);
  }

  function say(words) { get("spoken").textContent = words; }

  // The nearest training phantom, among small pictures that lie in the page
  const sheet = facts.phantoms.labels.length ? get("sheet") : null;
  let phantoms = null;
  sheet?.decode().then(() => {
    const canvas = document.createElement("canvas");
    Object.assign(canvas, { width: sheet.naturalWidth, height: sheet.naturalHeight });
    const context = canvas.getContext("2d", { willReadFrequently: true });
    context.drawImage(sheet, 0, 0);
    const grey = context.getImageData(0, 0, canvas.width, canvas.height).data;
    phantoms = Float32Array.from({ length: grey.length / 4 }, (_, k) => facts.phantoms.maximum * (grey[4 * k] / 255) ** 2);
    get("nearest").hidden = false;
    if (shown) describe(value("step"));
  });

  function nearest() {
    if (!phantoms) return "";
    const [h, w] = facts.phantoms.size, size = h * w, small = new Float32Array(size), down = rows / h, across = cols / w;
    for (let r = 0, k = 0; r < rows; r++) for (let c = 0; c < cols; c++, k++) small[Math.floor(r / down) * w + Math.floor(c / across)] += shown[k] / (down * across);
    let best = 0, least = Infinity;
    for (let n = 0; n < facts.phantoms.labels.length; n++) {
      let sum = 0;
      for (let k = 0, p = n * size; k < size && sum < least; k++, p++) sum += (small[k] - phantoms[p]) ** 2;
      if (sum < least) [best, least] = [n, sum];
    }
    paint(get("phantom"), phantoms.subarray(best * size, (best + 1) * size), h, w);
    const distance = Math.sqrt(least / size);
    const words = facts.nearness.find(([limit]) => distance < limit * facts.phantoms.usual)?.[1] ?? facts.far;
    return ` Nearest training phantom: number ${best + 1} (${className(facts.phantoms.labels[best])}), distance ${distance.toFixed(2)}: ${words}.`;
  }

  // The magnifier: the value under the pointer, or under the cross that the arrow keys move
  let probe = [Math.round(rows * 0.4), Math.round(cols / 2)];
  function magnify() {
    const [r, c] = probe, around = 7, values = new Float32Array(around * around);
    for (let y = 0; y < around; y++) for (let x = 0; x < around; x++) {
      values[y * around + x] = shown[Math.max(0, Math.min(rows - 1, r + y - 3)) * cols + Math.max(0, Math.min(cols - 1, c + x - 3))];
    }
    paint(get("lens"), values, around, around);
    get("under").textContent = `${facts.unit} ${amountOf(shown[r * cols + c])} at row ${r + 1}, column ${c + 1}`;
    Object.assign(get("cross").style, { left: `${(100 * (c + 0.5)) / cols}%`, top: `${(100 * (r + 0.5)) / rows}%` });
  }
  function move(r, c) {
    probe = [Math.max(0, Math.min(rows - 1, r)), Math.max(0, Math.min(cols - 1, c))];
    if (shown) magnify();
  }
  get("frame").addEventListener("pointermove", event => {
    const box = get("picture").getBoundingClientRect();
    move(Math.floor(((event.clientY - box.top) / box.height) * rows), Math.floor(((event.clientX - box.left) / box.width) * cols));
  });
  get("frame").addEventListener("keydown", event => {
    const [down, right] = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key] ?? [0, 0];
    if (!down && !right) return;
    event.preventDefault();
    move(probe[0] + down, probe[1] + right);
  });

  // New patients: a grid that fills as it is drawn; a click makes one of them the start of the walk
  const tiles = [];
  function fill() {
    background = background.filter(j => j.role !== "grid");
    get("tiles").replaceChildren();
    tiles.length = 0;
    const k = Number(value("gridClass")), first = value("grid");
    for (let n = 0; n < 24; n++) {
      const seed = first + n;
      const one = tile(get("tiles"), String(seed), `${className(k)}, seed ${seed}: make it A`, () => {
        set("a", k); set("seedA", seed); set("step", 0);
        refresh();
        get("step").focus();
      });
      tiles.push(one);
      draw({ a: k, b: k, seedA: seed, seedB: seed, kind: "label", t: 0, share: 0, truncation: value("truncation"), push: null },
        values => { one.values = values; paint(one.canvas, values); }, "grid");
    }
  }

  // The address keeps the state
  function keep() {
    const changed = controls.filter(id => value(id) !== defaults[id]).map(id => `${id}=${id === "a" || id === "b" ? facts.keys[value(id)] : value(id)}`);
    if (get("tiles").childElementCount) changed.push(`gridClass=${facts.keys[value("gridClass")]}`);
    history.replaceState(null, "", changed.length ? `#${changed.join("&")}` : location.pathname + location.search);
  }
  function restore() {
    controls.forEach(id => set(id, defaults[id]));
    const given = new URLSearchParams(location.hash.slice(1));
    for (const [id, text] of given) {
      if (!controls.includes(id) && id !== "gridClass") continue;
      const v = ["a", "b", "gridClass"].includes(id) ? facts.keys.indexOf(text) : text;
      if (v === -1 || v === "" || (get(id).type === "select-one" && ![...get(id).options].some(o => o.value === String(v)))) continue;
      set(id, v);
      if (get(id).type === "number" && !get(id).validity.valid) set(id, defaults[id]);
    }
    refresh();
    if (given.has("gridClass")) fill();
  }

  // What the controls do
  let playing = null;
  function play(on) {
    clearInterval(playing);
    playing = on ? setInterval(() => { set("step", (value("step") + pace) % (last + 1)); show(); }, pace > 1 ? 1000 : 80) : null;
    get("play").textContent = on ? "Pause" : "Play";
  }
  const pace = matchMedia("(prefers-reduced-motion: reduce)").matches ? 10 : 1; // still pictures, one a second
  const random = n => Math.floor(Math.random() * n);
  const check = id => {
    const box = get(id);
    if (box.type !== "number" || box.validity.valid && box.value !== "") return true;
    say(`${box.labels[0].textContent.trim()} must be from ${box.min} to ${box.max}.`);
    return false;
  };
  for (const id of ["a", "b", "seedA", "seedB", "kind", "follow", "share", "truncation", "direction", "amount"]) {
    get(id).addEventListener("input", () => check(id) && refresh());
  }
  get("step").addEventListener("input", () => { play(false); show(); });
  for (const id of ["white", "black", "invert"]) get(id).addEventListener("input", () => {
    if (!check(id)) return;
    if (value("black") <= value("white")) return say("Black must be above white.");
    refresh();
    tiles.filter(t => t.values).forEach(t => paint(t.canvas, t.values));
  });
  get("play").onclick = () => play(!playing);
  get("surprise").onclick = () => {
    for (const id of ["a", "b"]) set(id, random(facts.classes.length));
    for (const id of ["seedA", "seedB"]) set(id, random(1e6));
    refresh();
  };
  get("more").onclick = () => { if (tiles.length) set("grid", value("grid") + 24); fill(); keep(); };
  get("gridClass").addEventListener("input", () => { if (tiles.length) fill(); keep(); });
  get("save").onclick = () => {
    const scale = Math.ceil(800 / rows), canvas = document.createElement("canvas"), context = canvas.getContext("2d");
    Object.assign(canvas, { width: cols * scale, height: rows * scale + 44 });
    context.fillStyle = "white";
    context.fillRect(0, 0, canvas.width, canvas.height);
    context.imageSmoothingEnabled = false;
    context.drawImage(get("picture"), 0, 0, cols * scale, rows * scale);
    context.fillStyle = "black";
    context.font = "15px sans-serif";
    ["Generated image, no real patient. Not for clinical use.", `${get("endA").textContent} → ${get("endB").textContent}`].forEach((text, k) =>
      context.fillText(text, 8, rows * scale + 18 + 18 * k, canvas.width - 16));
    canvas.toBlob(blob => {
      const link = Object.assign(document.createElement("a"), { href: URL.createObjectURL(blob), download: "generated.png" });
      link.click();
      say("The picture is saved as generated.png.");
      setTimeout(() => URL.revokeObjectURL(link.href), 10000);
    });
  };
  get("copy").onclick = () => {
    keep();
    (navigator.clipboard?.writeText(location.href) ?? Promise.reject()).then(
      () => say("The link is copied."), () => say("Copy the link from the browser's address line."));
  };
  addEventListener("hashchange", restore);
  globalThis.radiogan = { times, waiting: () => busy || background.length > 0 }; // for measurements
  restore();
}

"use strict";

// The model answers one sample at a time and computes nothing behind the exit that the sample takes.
const byId = (id) => document.getElementById(id);
let manifest, session;

async function json(name) {
  const reply = await fetch(name);
  if (!reply.ok) throw new Error(`${name} cannot be loaded (${reply.status}).`);
  return reply.json();
}

async function load() {
  ort.env.wasm.numThreads = 1;
  ort.env.wasm.wasmPaths = new URL("./", location.href).href;
  manifest = await json("manifest.json");
  session = await ort.InferenceSession.create("model_early_exit.onnx", { executionProviders: ["wasm"] });
  document.title = manifest.name;
  byId("name").textContent = manifest.name;
  const [channels, height, width] = manifest.input_shape;
  const images = manifest.preprocessing.color_mode !== null;
  byId("about").textContent =
    `${manifest.class_names.length} classes, ${manifest.exits.length} exits, inputs of ${channels} x ${height} x ${width}. ` +
    "Everything is computed in this browser" +
    (images ? "; images do not leave it." : ". This page reads no files of such inputs; it compares on random ones.");
  byId("pick").hidden = !images;
  byId("check").hidden = false;
}

async function run(values) {
  const feeds = { images: new ort.Tensor("float32", values, [1, ...manifest.input_shape]) };
  const start = performance.now();
  const results = await session.run(feeds);
  const milliseconds = performance.now() - start;
  const logits = Array.from(results.logits.data);
  return {
    label: logits.indexOf(Math.max(...logits)),
    exit: Number(results.exit.data[0]),
    confidence: Number(results.confidence.data[0]),
    logits,
    milliseconds,
  };
}

async function valuesOf(file) {
  const parts = splitFile(new Uint8Array(await file.arrayBuffer()));
  const options = { colorSpaceConversion: "none", premultiplyAlpha: "none" };
  const bitmap = await createImageBitmap(new Blob([parts.content], { type: file.type }), options);
  if (bitmap.width * bitmap.height > MAX_PIXELS) throw new Error(`Images must have at most ${MAX_PIXELS} pixels.`);
  const whole = document.createElement("canvas");
  whole.width = bitmap.width;
  whole.height = bitmap.height;
  const context = whole.getContext("2d", { willReadFrequently: true });
  context.drawImage(bitmap, 0, 0);
  const image = context.getImageData(0, 0, bitmap.width, bitmap.height);
  const values = inputsOf(image, orientationOf(parts), manifest.preprocessing);
  draw(values);
  return values;
}

// The image as the network sees it.
function draw(values) {
  const { height, width, mean, std } = manifest.preprocessing;
  const canvas = byId("seen");
  canvas.width = width;
  canvas.height = height;
  const pixels = new ImageData(width, height);
  for (let i = 0; i < height * width; i++) {
    for (let c = 0; c < 3; c++) {
      const channel = Math.min(c, mean.length - 1);
      pixels.data[4 * i + c] = Math.round(255 * (values[channel * height * width + i] * std[channel] + mean[channel]));
    }
    pixels.data[4 * i + 3] = 255;
  }
  canvas.getContext("2d").putImageData(pixels, 0, 0);
}

function show(answer) {
  byId("answer").hidden = false;
  byId("class").textContent = manifest.class_names[answer.label];
  byId("details").textContent =
    `confidence ${answer.confidence.toFixed(3)}, left at exit ${answer.exit}, ${answer.milliseconds.toFixed(1)} ms`;
  byId("exits").replaceChildren(...manifest.exits.map((exit) => {
    const item = document.createElement("li");
    const last = exit.threshold === null;
    const state = exit.index === answer.exit ? "taken" : exit.index < answer.exit ? "passed" : "skipped";
    item.className = state;
    item.textContent = `exit ${exit.index}${last ? " (final)" : `, threshold ${exit.threshold.toFixed(3)}`}: ${state}`;
    return item;
  }));
}

async function compare() {
  const samples = await json("samples.json");
  const tolerance = 1e-3;
  let same = 0, largest = 0;
  for (const sample of samples) {
    const bytes = Uint8Array.from(atob(sample.inputs), (letter) => letter.charCodeAt(0));
    const found = await run(new Float32Array(bytes.buffer));
    const difference = Math.max(...found.logits.map((value, i) => Math.abs(value - sample.logits[i])));
    if (found.exit === sample.exit && found.label === sample.label) {
      same += 1;
      largest = Math.max(largest, difference);
    }
  }
  const good = same === samples.length && largest <= tolerance * Math.max(1, ...samples.flatMap((s) => s.logits.map(Math.abs)));
  byId("check-result").textContent =
    `${same} of ${samples.length} samples give Python's class and exit; logits differ by up to ${largest.toExponential(1)}. ` +
    (good ? "The browser agrees." : "The browser does not agree.");
}

function report(error) {
  byId("error").textContent = error && error.message ? error.message : String(error);
}

byId("file").addEventListener("change", async (event) => {
  byId("error").textContent = "";
  try {
    const [file] = event.target.files;
    if (file) show(await run(await valuesOf(file)));
  } catch (error) {
    report(error);
  }
});
byId("check").addEventListener("click", () => compare().catch(report));
load().then(() => (location.search === "?check" ? compare() : undefined)).catch(report);

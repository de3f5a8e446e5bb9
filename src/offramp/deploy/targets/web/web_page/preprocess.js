"use strict";

// From the bytes of an image file to the network's input, step by step as offramp.data.images.image_decoding does it in Python.
// The browser only decompresses: orientation and colour profiles are taken out of the file before, and applied here or
// ignored, because browsers differ in both.
const MAX_PIXELS = 50000000;
const PNG_SIGNATURE = [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a];
const PNG_LEFT_OUT = new Set(["eXIf", "iCCP", "gAMA", "cHRM", "sRGB", "cICP", "iTXt", "tEXt", "zTXt"]);

const textOf = (bytes) => new TextDecoder("latin1").decode(bytes);
const startsWith = (bytes, signature) => signature.every((value, i) => bytes[i] === value);
const joined = (parts) => {
  const all = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) { all.set(part, at); at += part.length; }
  return all;
};

// Orientation in the first directory of TIFF data, which Exif is; 0 where there is none.
function exifOrientation(bytes) {
  if (bytes.length < 8) return 0;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const little = bytes[0] === 0x49;
  const start = view.getUint32(4, little);
  if (start + 2 > bytes.length) return 0;
  const count = view.getUint16(start, little);
  for (let i = 0; i < count; i++) {
    const entry = start + 2 + 12 * i;
    if (entry + 12 > bytes.length) return 0;
    if (view.getUint16(entry, little) === 0x0112) return view.getUint16(entry + 8, little);
  }
  return 0;
}

function xmpOrientation(bytes) {
  const match = /tiff:Orientation(?:\s*=\s*["']|>)\s*([1-8])/.exec(textOf(bytes));
  return match ? Number(match[1]) : 0;
}

// The file without metadata, its Exif data (TIFF) and its other texts.
function splitFile(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const kept = [], texts = [];
  let exif = new Uint8Array(0);
  if (bytes[0] === 0xff && bytes[1] === 0xd8) {
    kept.push(bytes.subarray(0, 2));
    let at = 2;
    while (at + 4 <= bytes.length && bytes[at] === 0xff && bytes[at + 1] !== 0xda) {
      const end = at + 2 + view.getUint16(at + 2);
      const body = bytes.subarray(at + 4, end);
      if (bytes[at + 1] === 0xe1 && textOf(body.subarray(0, 4)) === "Exif") exif = body.subarray(6);
      else if (bytes[at + 1] === 0xe1) texts.push(body);
      else if (bytes[at + 1] !== 0xe2) kept.push(bytes.subarray(at, end));
      at = end;
    }
    kept.push(bytes.subarray(at));
  } else if (startsWith(bytes, PNG_SIGNATURE)) {
    kept.push(bytes.subarray(0, 8));
    for (let at = 8; at + 12 <= bytes.length;) {
      const size = view.getUint32(at), end = at + 12 + size;
      const kind = textOf(bytes.subarray(at + 4, at + 8)), body = bytes.subarray(at + 8, at + 8 + size);
      if (kind === "eXIf") exif = body;
      else if (PNG_LEFT_OUT.has(kind)) texts.push(body);
      else kept.push(bytes.subarray(at, end));
      at = end;
    }
  } else if (textOf(bytes.subarray(0, 4)) === "RIFF" && textOf(bytes.subarray(8, 12)) === "WEBP") {
    for (let at = 12; at + 8 <= bytes.length;) {
      const size = view.getUint32(at + 4, true), end = at + 8 + size + (size % 2);
      const kind = textOf(bytes.subarray(at, at + 4)), body = bytes.subarray(at + 8, at + 8 + size);
      if (kind === "EXIF") exif = textOf(body.subarray(0, 4)) === "Exif" ? body.subarray(6) : body;
      else if (kind === "XMP ") texts.push(body);
      else if (kind === "VP8X") {
        const head = bytes.slice(at, end);
        head[8] &= ~0x2c; // no profile, no Exif, no XMP
        kept.push(head);
      } else if (kind !== "ICCP") kept.push(bytes.subarray(at, end));
      at = end;
    }
    const head = bytes.slice(0, 12);
    new DataView(head.buffer).setUint32(4, 4 + kept.reduce((sum, part) => sum + part.length, 0), true);
    kept.unshift(head);
  } else {
    return { content: bytes, exif, texts };
  }
  return { content: joined(kept), exif, texts };
}

// 1 to 8 as Exif numbers them; Exif comes before XMP.
function orientationOf({ exif, texts }) {
  const stated = exifOrientation(exif) || texts.map(xmpOrientation).find((value) => value) || 1;
  return stated >= 1 && stated <= 8 ? stated : 1;
}

// One plane of bytes, turned upright.
function upright({ width, height, data }, orientation) {
  if (orientation === 1) return { width, height, data };
  const turned = orientation >= 5;
  const [w, h] = turned ? [height, width] : [width, height];
  const out = new Uint8Array(w * h);
  for (let y = 0; y < h; y++) {
    for (let x = 0; x < w; x++) {
      let [sx, sy] = turned ? [y, x] : [x, y];
      if ([2, 3, 7, 8].includes(orientation)) sx = width - 1 - sx;
      if ([3, 4, 6, 7].includes(orientation)) sy = height - 1 - sy;
      out[y * w + x] = data[sy * width + sx];
    }
  }
  return { width: w, height: h, data: out };
}

// Pillow's bilinear filter for bytes (Resample.c): a triangle that widens where it shrinks, in whole numbers.
const PRECISION = 22;
function weights(size, wanted) {
  const scale = size / wanted, widened = Math.max(scale, 1);
  return Array.from({ length: wanted }, (_, place) => {
    const centre = (place + 0.5) * scale;
    const first = Math.max(Math.trunc(centre - widened + 0.5), 0);
    const end = Math.min(Math.trunc(centre + widened + 0.5), size);
    const values = [];
    for (let i = first; i < end; i++) values.push(Math.max(0, 1 - Math.abs((i - centre + 0.5) / widened)));
    const sum = values.reduce((a, b) => a + b, 0);
    return { first, values: values.map((value) => Math.trunc(0.5 + (value / sum) * 2 ** PRECISION)) };
  });
}

function resized(plane, width, height) {
  let { width: w, height: h, data } = plane;
  if (w !== width) {
    const across = weights(w, width), out = new Uint8Array(width * h);
    for (let y = 0; y < h; y++) {
      across.forEach(({ first, values }, x) => {
        let sum = 2 ** (PRECISION - 1);
        values.forEach((value, i) => { sum += value * data[y * w + first + i]; });
        out[y * width + x] = Math.min(Math.floor(sum / 2 ** PRECISION), 255);
      });
    }
    [w, data] = [width, out];
  }
  if (h !== height) {
    const out = new Uint8Array(w * height);
    weights(h, height).forEach(({ first, values }, y) => {
      for (let x = 0; x < w; x++) {
        let sum = 2 ** (PRECISION - 1);
        values.forEach((value, i) => { sum += value * data[(first + i) * w + x]; });
        out[y * w + x] = Math.min(Math.floor(sum / 2 ** PRECISION), 255);
      }
    });
    [h, data] = [height, out];
  }
  return { width: w, height: h, data };
}

// Planes of bytes: grey as Pillow makes it, in whole numbers, or red, green and blue.
function planesOf({ width, height, data }, channels) {
  const count = width * height;
  const planes = Array.from({ length: channels }, () => new Uint8Array(count));
  for (let i = 0; i < count; i++) {
    const [r, g, b, alpha] = data.subarray(4 * i, 4 * i + 4);
    if (alpha !== 255) {
      throw new Error("Transparent images cannot be read here, because browsers mix their colours. Save it without transparency.");
    }
    if (channels === 1) planes[0][i] = (r * 19595 + g * 38470 + b * 7471 + 0x8000) >> 16;
    else [r, g, b].forEach((value, c) => { planes[c][i] = value; });
  }
  return planes.map((plane) => ({ width, height, data: plane }));
}

// Pixels (RGBA) and orientation to float32 inputs, rounded in each step as in Python.
function inputsOf(image, orientation, { height, width, mean, std }) {
  const values = new Float32Array(mean.length * height * width);
  planesOf(image, mean.length).forEach((plane, c) => {
    const middle = Math.fround(255 * Math.fround(mean[c])), scale = Math.fround(255 * Math.fround(std[c]));
    resized(upright(plane, orientation), width, height).data.forEach((value, i) => {
      values[c * height * width + i] = Math.fround(value - middle) / scale;
    });
  });
  return values;
}

if (typeof module !== "undefined") module.exports = { inputsOf, orientationOf, resized, splitFile, upright };

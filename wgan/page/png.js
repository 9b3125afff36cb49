// Lossless PNG files, also of transparent images, which a canvas would change.

const COLOUR_TYPES = { 1: 0, 3: 2, 4: 6 }; // by channels
const SIGNATURE = [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a];

// The PNG of pixels, Uint8Array [height, width, channels].
export async function encodePng(pixels, height, width, channels) {
  const header = new Uint8Array(13);
  const view = new DataView(header.buffer);
  view.setUint32(0, width);
  view.setUint32(4, height);
  header.set([8, COLOUR_TYPES[channels], 0, 0, 0], 8); // 8 bits
  const row = width * channels;
  const rows = new Uint8Array(height * (row + 1)); // each begins with 0: no filter
  for (let y = 0; y < height; y += 1) {
    rows.set(pixels.subarray(y * row, (y + 1) * row), y * (row + 1) + 1);
  }
  const parts = [
    new Uint8Array(SIGNATURE),
    chunk("IHDR", header),
    chunk("IDAT", await deflate(rows)),
    chunk("IEND", new Uint8Array()),
  ];
  return new Uint8Array(await new Blob(parts).arrayBuffer());
}

// The squarest grid of images of one shape, row by row; unused cells are white, or transparent.
export function grid(images, height, width, channels) {
  const columns = Math.ceil(Math.sqrt(images.length));
  const rows = Math.ceil(images.length / columns);
  const pixels = new Uint8Array(rows * height * columns * width * channels);
  pixels.fill(channels === 4 ? 0 : 255);
  const row = width * channels;
  images.forEach((image, index) => {
    const top = Math.floor(index / columns) * height;
    const left = (index % columns) * row;
    for (let y = 0; y < height; y += 1) {
      pixels.set(image.subarray(y * row, (y + 1) * row), (top + y) * columns * row + left);
    }
  });
  return { pixels, height: rows * height, width: columns * width };
}

async function deflate(bytes) {
  const stream = new Blob([bytes]).stream().pipeThrough(new CompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

function chunk(name, content) {
  const bytes = new Uint8Array(content.length + 12);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, content.length);
  bytes.set(new TextEncoder().encode(name), 4);
  bytes.set(content, 8);
  view.setUint32(content.length + 8, crc(bytes.subarray(4, content.length + 8)));
  return bytes;
}

// CRC-32 of ISO 3309.
function crc(bytes) {
  let remainder = -1;
  for (const byte of bytes) {
    remainder ^= byte;
    for (let bit = 0; bit < 8; bit += 1) {
      remainder = (remainder >>> 1) ^ (remainder & 1 ? 0xedb88320 : 0);
    }
  }
  return ~remainder >>> 0;
}

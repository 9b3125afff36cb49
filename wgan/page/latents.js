// Seeds to latents, as wgan/latents.py: NumPy's RandomState(seed).standard_normal(n) as float32.

const SIZE = 624;
const SHIFT = 397;

// The latents of a seed, 0 to 2**32 - 1: Float32Array(n), standard normal.
//
// Pairs by Marsaglia's polar method (1964); of each pair NumPy returns the second number first.
export function latents(seed, n) {
  const random = uniform(seed);
  const numbers = new Float32Array(n);
  for (let i = 0; i < n; i += 2) {
    let x, y, square;
    do {
      x = 2 * random() - 1;
      y = 2 * random() - 1;
      square = x * x + y * y;
    } while (square >= 1 || square === 0);
    const factor = Math.sqrt((-2 * Math.log(square)) / square);
    numbers[i] = factor * y;
    if (i + 1 < n) {
      numbers[i + 1] = factor * x;
    }
  }
  return numbers;
}

// Numbers in [0, 1) with 53 random bits, of two outputs of the Mersenne Twister.
function uniform(seed) {
  const next = mersenneTwister(seed);
  return () => {
    const high = next() >>> 5;
    const low = next() >>> 6;
    return (high * 2 ** 26 + low) / 2 ** 53;
  };
}

// MT19937 (Matsumoto and Nishimura 1998): whole numbers of 32 bits.
function mersenneTwister(seed) {
  const state = new Uint32Array(SIZE);
  state[0] = seed;
  for (let i = 1; i < SIZE; i += 1) {
    const before = state[i - 1] ^ (state[i - 1] >>> 30);
    state[i] = Math.imul(before, 1812433253) + i;
  }
  let at = SIZE;
  return () => {
    if (at === SIZE) {
      twist(state);
      at = 0;
    }
    let bits = state[at];
    at += 1;
    bits ^= bits >>> 11;
    bits ^= (bits << 7) & 0x9d2c5680;
    bits ^= (bits << 15) & 0xefc60000;
    return (bits ^ (bits >>> 18)) >>> 0;
  };
}

function twist(state) {
  for (let i = 0; i < SIZE; i += 1) {
    const mixed = (state[i] & 0x80000000) | (state[(i + 1) % SIZE] & 0x7fffffff);
    state[i] = state[(i + SHIFT) % SIZE] ^ (mixed >>> 1) ^ (mixed & 1 ? 0x9908b0df : 0);
  }
}

// Spherical linear interpolation, as `slerp` of wgan/runtime/latent_sources.py.
export function slerp(start, end, part) {
  const dot = (a, b) => a.reduce((sum, value, i) => sum + value * b[i], 0);
  const lengths = Math.sqrt(dot(start, start) * dot(end, end));
  const cosine = lengths ? Math.min(Math.max(dot(start, end) / lengths, -1), 1) : 1;
  const angle = Math.acos(cosine);
  const sine = Math.sin(angle);
  const straight = sine < 1e-6;
  const a = straight ? 1 - part : Math.sin((1 - part) * angle) / sine;
  const b = straight ? part : Math.sin(part * angle) / sine;
  return start.map((value, i) => a * value + b * end[i]);
}

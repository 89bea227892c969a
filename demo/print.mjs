// What the demo says while it works.

const started = Date.now();
const colour = process.stdout.isTTY ? (code, text) => `\x1b[${code}m${text}\x1b[0m` : (_, text) => text;

export function step(text) {
  const seconds = ((Date.now() - started) / 1000).toFixed(1).padStart(6);
  console.log(`${colour('2', `${seconds}s`)}  ${text}`);
}

export function done(text) {
  step(`${colour('32', '✓')} ${text}`);
}

export function table(head, rows) {
  const widths = head.map((title, column) => Math.max(title.length, ...rows.map((row) => String(row[column]).length)));
  const line = (cells) => cells.map((cell, column) => String(cell).padEnd(widths[column])).join('  ').trimEnd();
  console.log();
  console.log(colour('1', line(head)));
  console.log(widths.map((width) => '─'.repeat(width)).join('  '));
  rows.forEach((row) => console.log(line(row)));
  console.log();
}

/// Asks `check` until it answers; says what was awaited when it never does.
export async function until(what, check, { seconds = 60, everyMs = 20 } = {}) {
  const deadline = Date.now() + seconds * 1000;
  for (;;) {
    const answer = await check();
    if (answer !== undefined && answer !== false) return answer;
    if (Date.now() > deadline) throw new Error(`waited ${seconds} s in vain for ${what}`);
    await new Promise((resolve) => setTimeout(resolve, everyMs));
  }
}

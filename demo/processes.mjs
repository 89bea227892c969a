// The processes that the demo starts. None outlives it, however it ends.

import { spawn } from 'node:child_process';

const running = new Set();

process.on('exit', () => running.forEach((child) => child.kill('SIGTERM')));

/// Starts a program. `child.ended` resolves with a sentence once it has ended, or could not be started.
export function start(program, args, options) {
  const child = spawn(program, args.map(String), options);
  running.add(child);
  child.ended = new Promise((resolve) => {
    child.once('error', (error) => resolve(`${program} cannot be started: ${error.message}`));
    child.once('exit', (code, signal) => resolve(`${program} ended with ${signal ?? `code ${code}`}`));
  }).then((sentence) => {
    running.delete(child);
    child.hasEnded = sentence;
    return sentence;
  });
  return child;
}

/// Asks a program to end, and waits until it has.
export async function stop(child) {
  child.kill('SIGTERM');
  await child.ended;
}

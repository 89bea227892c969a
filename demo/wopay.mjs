// The gateway itself: the binary `wopay` with a configuration of local chains, and its REST API as a merchant uses it.

import { execFile } from 'node:child_process';
import { chmodSync, closeSync, mkdtempSync, openSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';

import { freePort } from './net.mjs';
import { until } from './print.mjs';
import { start, stop } from './processes.mjs';

const repository = new URL('..', import.meta.url).pathname;
const binary = join(process.env.CARGO_TARGET_DIR ?? join(repository, 'target'), 'debug/wopay');

export class Wopay {
  static async start(chains) {
    const folder = mkdtempSync(join(tmpdir(), 'wopay-demo-'));
    chmodSync(folder, 0o755);
    const listen = `127.0.0.1:${await freePort()}`;
    const config = join(folder, 'wopay.toml');
    writeFileSync(config, `environment = "development"
listen = "${listen}"
data_dir = "${join(folder, 'data')}"

[webhooks]
allow_networks = ["127.0.0.0/8"]
${chains.map((chain) => chain.table()).join('')}`);
    const wopay = new Wopay({ folder, config, url: `http://${listen}`, log: join(folder, 'wopay.log') });
    wopay.#serve();
    try {
      await until('wopay to be ready', () => wopay.#ready(), { seconds: 120 });
    } catch (error) {
      await stop(wopay.child);
      throw error;
    }
    return wopay;
  }

  constructor(fields) {
    Object.assign(this, fields);
  }

  #serve() {
    const log = openSync(this.log, 'a');
    this.child = start(binary, ['serve', '--config', this.config], { cwd: repository, stdio: ['ignore', log, log] });
    closeSync(log);
  }

  async #ready() {
    if (this.child.hasEnded) throw new Error(`${this.child.hasEnded}; its log is ${this.log}`);
    return fetch(`${this.url}/readyz`).then((response) => response.ok, () => false);
  }

  /// Runs the binary with `--json` and reads what it prints.
  async #command(...args) {
    const { stdout } = await promisify(execFile)(binary, [...args, '--json', '--config', this.config], { cwd: repository });
    return JSON.parse(stdout);
  }

  async createMerchant(webhookUrl) {
    this.merchant = await this.#command(
      'merchant', 'create', '--name', 'Demo Shop', '--email', 'shop@demo.example', '--webhook-url', webhookUrl,
    );
    return this.merchant;
  }

  /// The answer to a request; `undefined` if there is none now (503).
  async #request(method, path, body) {
    const response = await fetch(this.url + path, {
      method,
      headers: { authorization: `Bearer ${this.merchant.api_key}`, 'content-type': 'application/json' },
      body: body && JSON.stringify(body),
    });
    const answer = await response.json();
    if (response.status === 503) return undefined;
    if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${JSON.stringify(answer)}`);
    return answer;
  }

  /// "Not now" (503: the pool of addresses fills in the first seconds) is asked again, as by any good client.
  createPayment(request) {
    return until(`the payment of ${request.order_id}`, () => this.#request('POST', '/api/v1/payments', request), { everyMs: 200 });
  }

  payment(id) {
    return this.#answer(`/api/v1/payments/${id}`);
  }

  balances() {
    return this.#answer('/api/v1/balances');
  }

  #answer(path) {
    return until(path, () => this.#request('GET', path), { everyMs: 200 });
  }

  /// Stops the server with its private services, and removes what it wrote.
  async stop() {
    await stop(this.child);
    rmSync(this.folder, { recursive: true, force: true });
  }
}

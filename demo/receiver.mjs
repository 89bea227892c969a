// The merchant's server: verifies the signature of every webhook (with the `standardwebhooks` package, which is not
// ours, and the signature inside the body by hand) before it believes a word of it.

import { createHmac, timingSafeEqual } from 'node:crypto';
import { createServer } from 'node:http';

import { Webhook } from 'standardwebhooks';

import { until } from './print.mjs';

const SIGNED_FIELDS =
  ['timestamp', 'event', 'payment_id', 'order_id', 'amount', 'currency', 'status', 'transaction_hash'];

function bodySignatureHolds(body, secret) {
  const key = Buffer.from(secret.replace(/^whsec_/, ''), 'base64');
  const text = SIGNED_FIELDS.map((field) => body[field] ?? '').join('.');
  const expected = createHmac('sha256', key).update(text).digest();
  const given = Buffer.from(body.signature ?? '', 'hex');
  return given.length === expected.length && timingSafeEqual(given, expected);
}

export class Receiver {
  /// Webhooks that were verified, as `{ body, at }` with the arrival in ms.
  received = [];
  refused = [];
  secret = undefined;

  static async start() {
    const receiver = new Receiver();
    receiver.server = createServer((request, response) => receiver.#take(request, response));
    await new Promise((resolve) => receiver.server.listen(0, '127.0.0.1', resolve));
    receiver.url = `http://127.0.0.1:${receiver.server.address().port}/webhooks`;
    return receiver;
  }

  async #take(request, response) {
    const at = Date.now();
    const chunks = [];
    for await (const chunk of request) chunks.push(chunk);
    const raw = Buffer.concat(chunks).toString('utf8');
    try {
      const body = new Webhook(this.secret).verify(raw, request.headers);
      if (!bodySignatureHolds(body, this.secret)) throw new Error('the signature in the body is wrong');
      this.received.push({ body, at });
      response.writeHead(204).end();
    } catch (error) {
      this.refused.push(`${error.message}: ${raw}`);
      response.writeHead(400).end();
    }
  }

  /// The webhook of an event of a payment, once it has arrived.
  webhook(paymentId, event) {
    return until(`the webhook ${event} of ${paymentId}`, () => {
      if (this.refused.length > 0) throw new Error(`a webhook did not verify: ${this.refused[0]}`);
      return this.received.find(({ body }) => body.payment_id === paymentId && body.event === event);
    }, { everyMs: 5 });
  }

  stop() {
    this.server.closeAllConnections();
    this.server.close();
  }
}

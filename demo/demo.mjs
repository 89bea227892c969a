// Takes real payments on three local chains and prints the receipts. `DEMO_ONCE=1` ends with exit code 0, otherwise the
// server stays up.

import { minorUnits } from './amounts.mjs';
import { EvmChain } from './evm.mjs';
import { done, step, table, until } from './print.mjs';
import { Receiver } from './receiver.mjs';
import { SolanaChain } from './solana.mjs';
import { Wopay } from './wopay.mjs';

/// What is bought: on each chain the token and the native coin, exact and in two parts, and one token payment too late.
function orders(chain) {
  return [
    { chain, title: 'exact', currency: 'USDT', amount: '100.50', parts: ['100.50'] },
    { chain, title: 'exact', currency: chain.native, amount: '0.25', parts: ['0.25'] },
    { chain, title: 'in two parts', currency: 'USDT', amount: '30.00', parts: ['12.50', '17.50'] },
    { chain, title: 'in two parts', currency: chain.native, amount: '1.5', parts: ['1', '0.5'] },
    { chain, title: 'too late', currency: 'USDT', amount: '5.00', parts: ['5.00'], late: true },
  ];
}

async function buy(order, number, wopay, receiver) {
  const { chain, currency, amount } = order;
  const orderId = `DEMO-${number}`;
  const name = `${orderId} ${currency} on ${chain.name}, ${order.title}`;
  const payment = await wopay.createPayment({
    order_id: orderId,
    amount,
    currency,
    blockchain: chain.name,
    expires_in: order.late ? 3 : 3600,
  });
  step(`${name}: pay ${amount} to ${payment.payment_address}`);
  if (order.late) {
    await receiver.webhook(payment.id, 'payment.expired');
    await chain.passes(payment.expires_at);
    step(`${name}: the deadline passed, the payer pays nevertheless`);
  }
  let receipt;
  for (const part of order.parts) {
    receipt = await chain.pay({ payment, amount: part });
    step(`${name}: ${part} paid in block ${receipt.block}, ${receipt.transaction.slice(0, 12)}…`);
  }
  const settledAt = chain.settledAt(receipt.block);
  const webhook = await receiver.webhook(payment.id, 'payment.completed');
  const latencyMs = Math.max(0, webhook.at - (await settledAt));
  const final = await wopay.payment(payment.id);
  if (final.status !== 'completed') throw new Error(`${name} ended as ${final.status}`);
  if (order.late !== undefined && !final.flags.includes('paid_late')) throw new Error(`${name} lacks the flag paid_late`);
  done(`${name}: ${[final.status, ...final.flags].join(', ')}`);
  return [
    orderId, chain.name, `${amount} ${currency}`, order.title, [final.status, ...final.flags].join(', '),
    `${receipt.transaction.slice(0, 18)}…`, `${latencyMs} ms`,
  ];
}

async function balancesAreBooked(wopay, orders, count) {
  await until('the balances to be booked', async () => {
    const { data } = await wopay.balances();
    return data.length === count && data.every((balance) => Number(balance.pending) === 0) ? true : undefined;
  });
  const { data } = await wopay.balances();
  table(['Balance', 'Chain', 'Available'], data.map((balance) => [balance.currency, balance.blockchain, balance.available]));
  for (const balance of data) {
    const paid = orders.filter((order) => order.chain.name === balance.blockchain && order.currency === balance.currency);
    const expected = paid.reduce((sum, order) => sum + minorUnits(order.amount, 18), 0n);
    if (minorUnits(balance.available, 18) !== expected) throw new Error(`the balance of ${balance.currency} is wrong`);
  }
}

async function take(running, asked) {
  step('starting three local chains and deploying a test USDT on each');
  const chains = await Promise.all([
    EvmChain.start({ name: 'ethereum', chainId: 31337, decimals: 6, blockSeconds: 1, native: 'ETH' }),
    EvmChain.start({ name: 'bsc', chainId: 31338, decimals: 18, blockSeconds: 1, native: 'BNB' }),
    SolanaChain.start({ name: 'solana', slotMs: 100 }),
  ]);
  running.push(...chains);
  chains.forEach((chain) => done(`${chain.name}: ${chain.url}, USDT with ${chain.decimals} decimals at ${chain.token}`));

  step('starting wopay with its own Postgres and NATS (the first start makes a database and a key)');
  const wopay = await Wopay.start(chains);
  running.push(wopay);
  done(`wopay: ${wopay.url}, log in ${wopay.log}`);

  const receiver = await Receiver.start();
  running.push(receiver);
  const merchant = await wopay.createMerchant(receiver.url);
  receiver.secret = merchant.webhook_secret;
  done(`merchant ${merchant.merchant_id}, webhooks verified at ${receiver.url}`);

  const all = chains.flatMap(orders);
  const receipts = await Promise.all(all.map((order, index) => buy(order, index + 1, wopay, receiver)));
  table(['Payment', 'Chain', 'Amount', 'Paid', 'Status', 'Last transaction', 'Block → webhook'], receipts);
  // A token and a coin on each.
  await balancesAreBooked(wopay, all, 2 * chains.length);
  done(`${receiver.received.length} webhooks arrived, every signature verified`);

  if (process.env.DEMO_ONCE === '1') return;
  console.log(`WoPay stays up at ${wopay.url}. Try:

  curl -s ${wopay.url}/api/v1/payments -H 'Authorization: Bearer ${merchant.api_key}'

Ctrl-C stops everything.`);
  await asked;
}

async function main() {
  const running = [];
  let leave;
  const asked = new Promise((resolve) => { leave = resolve; });
  for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, leave);
  try {
    await Promise.race([take(running, asked), asked]);
  } catch (error) {
    console.error(`demo: ${error.message}`);
    process.exitCode = 1;
  } finally {
    step('stopping');
    for (const part of running.reverse()) await part.stop();
  }
}

// What fails after the first failure, or while everything stops, is a consequence of it.
process.on('unhandledRejection', () => {});
await main();
process.exit();

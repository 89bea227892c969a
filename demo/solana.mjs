// A local Solana network (surfpool) with a test USDT on it, and a payer whose wallet reads payment requests of Solana Pay.

import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import {
  AccountRole, address, appendTransactionMessageInstructions, createKeyPairSignerFromBytes, createSolanaRpc,
  createTransactionMessage, generateKeyPairSigner, getBase64EncodedWireTransaction, getSignatureFromTransaction, pipe,
  setTransactionMessageFeePayerSigner, setTransactionMessageLifetimeUsingBlockhash, signTransactionMessageWithSigners,
} from '@solana/kit';
import { getCreateAccountInstruction, getTransferSolInstruction } from '@solana-program/system';
import {
  findAssociatedTokenPda, getCreateAssociatedTokenIdempotentInstruction, getInitializeMint2Instruction, getMintSize,
  getMintToInstruction, getTransferCheckedInstruction, TOKEN_PROGRAM_ADDRESS,
} from '@solana-program/token';

import { minorUnits } from './amounts.mjs';
import { until } from './print.mjs';
import { start, stop } from './processes.mjs';

const SOL_DECIMALS = 9;
const USDT_DECIMALS = 6;

const repository = new URL('..', import.meta.url).pathname;
const surfpool = process.env.WOPAY_TEST_SURFPOOL ?? join(repository, '.wopay/tools/surfpool/wopay-surfpool');

/// Reads a transfer request as a wallet does (https://docs.solanapay.com/spec): whom to pay, how much of what, and the
/// keys that are added to the transaction so that it can be found by them.
function readTransferRequest(uri) {
  const url = new URL(uri);
  if (url.protocol !== 'solana:') throw new Error(`${uri} is no request of Solana Pay`);
  const mint = url.searchParams.get('spl-token');
  return {
    recipient: address(url.pathname),
    amount: url.searchParams.get('amount'),
    mint: mint === null ? undefined : address(mint),
    references: url.searchParams.getAll('reference').map(address),
  };
}

/// The line that the network prints when it is ready.
async function readyLine(child) {
  let text = '';
  child.stdout.setEncoding('utf8').on('data', (chunk) => { text += chunk; });
  const line = await until("solana's network to be ready", () => {
    if (child.hasEnded) throw new Error(child.hasEnded);
    return text.endsWith('\n') ? text : undefined;
  });
  return JSON.parse(line);
}

export class SolanaChain {
  native = 'SOL';
  decimals = USDT_DECIMALS;

  static async start({ name, slotMs }) {
    if (!existsSync(surfpool)) throw new Error('no surfpool: run `make tools`');
    const folder = mkdtempSync(join(tmpdir(), 'wopay-demo-solana-'));
    const options = { cwd: folder, env: { ...process.env, HOME: folder }, stdio: ['ignore', 'pipe', 'ignore'] };
    const chain = new SolanaChain({ name, folder, child: start(surfpool, [slotMs], options) });
    try {
      const ready = await readyLine(chain.child);
      chain.url = ready.rpc;
      chain.rpc = createSolanaRpc(ready.rpc);
      chain.payer = await createKeyPairSignerFromBytes(Uint8Array.from(ready.payer));
      chain.genesisHash = await chain.rpc.getGenesisHash().send();
      await chain.#createToken();
    } catch (error) {
      await chain.stop();
      throw error;
    }
    return chain;
  }

  constructor(fields) {
    Object.assign(this, fields);
  }

  async #createToken() {
    const mint = await generateKeyPairSigner();
    const space = BigInt(getMintSize());
    const lamports = await this.rpc.getMinimumBalanceForRentExemption(space).send();
    const account = { payer: this.payer, newAccount: mint, lamports, space, programAddress: TOKEN_PROGRAM_ADDRESS };
    this.token = mint.address;
    this.tokenAccount = await this.#tokenAccountOf(this.payer.address);
    const amount = minorUnits('1000000000', USDT_DECIMALS);
    await this.#send([
      getCreateAccountInstruction(account),
      getInitializeMint2Instruction({ mint: mint.address, decimals: USDT_DECIMALS, mintAuthority: this.payer.address }),
      this.#createTokenAccount(this.payer.address, this.tokenAccount),
      getMintToInstruction({ mint: mint.address, token: this.tokenAccount, mintAuthority: this.payer, amount }),
    ]);
  }

  async #tokenAccountOf(owner) {
    const [account] = await findAssociatedTokenPda({ owner, mint: this.token, tokenProgram: TOKEN_PROGRAM_ADDRESS });
    return account;
  }

  /// Does nothing if the account is there.
  #createTokenAccount(owner, ata) {
    return getCreateAssociatedTokenIdempotentInstruction({ payer: this.payer, ata, owner, mint: this.token });
  }

  /// Sends a transaction and waits until it is confirmed; answers with its signature and slot.
  async #send(instructions) {
    const { value: latest } = await this.rpc.getLatestBlockhash().send();
    const message = pipe(
      createTransactionMessage({ version: 0 }),
      (empty) => setTransactionMessageFeePayerSigner(this.payer, empty),
      (paid) => setTransactionMessageLifetimeUsingBlockhash(latest, paid),
      (timed) => appendTransactionMessageInstructions(instructions, timed),
    );
    const signed = await signTransactionMessageWithSigners(message);
    const signature = getSignatureFromTransaction(signed);
    await this.rpc.sendTransaction(getBase64EncodedWireTransaction(signed), { encoding: 'base64' }).send();
    const { slot } = await until(`transaction ${signature}`, async () => {
      const { value: [status] } = await this.rpc.getSignatureStatuses([signature]).send();
      if (status?.err) throw new Error(`${this.name}: transaction ${signature} failed`);
      return ['confirmed', 'finalized'].includes(status?.confirmationStatus) ? status : undefined;
    });
    return { transaction: signature, block: Number(slot) };
  }

  /// The chain's table in wopay's configuration. What counts is the cluster's own `finalized`, 31 slots behind the head.
  table() {
    return `
[chains.${this.name}]
kind = "solana"
genesis_hash = "${this.genesisHash}"
rpc = ["${this.url}"]
finality = { confirmations = 1 }
native = { symbol = "${this.native}", decimals = ${SOL_DECIMALS} }
poll_interval_ms = 100
[[chains.${this.name}.tokens]]
symbol = "USDT"
mint = "${this.token}"
decimals = ${USDT_DECIMALS}
`;
  }

  /// Pays a part of a payment as its request says, in one transaction that carries the reference; answers with the
  /// transaction and its slot once it is confirmed and found by that reference.
  async pay({ payment, amount }) {
    const request = readTransferRequest(payment.payment_uri);
    const [mint, decimals] = payment.currency === this.native ? [undefined, SOL_DECIMALS] : [this.token, USDT_DECIMALS];
    const isAsked = request.recipient === payment.payment_address && request.mint === mint
      && minorUnits(request.amount, decimals) === minorUnits(payment.amount, decimals) && request.references.length === 1;
    if (!isAsked) throw new Error(`${payment.payment_uri} does not ask for the payment ${payment.id}`);
    const paid = await this.#send(await this.#transfer(request, amount));
    const [reference] = request.references;
    await until(`transaction ${paid.transaction} to be found by its reference`, async () => {
      const found = await this.rpc.getSignaturesForAddress(reference, { commitment: 'confirmed' }).send();
      return found.some(({ signature }) => signature === paid.transaction);
    });
    return paid;
  }

  /// The transfer is the last instruction, and carries the references as keys that are only read.
  async #transfer({ recipient, mint, references }, amount) {
    const carry = (transfer) => {
      const keys = references.map((key) => ({ address: key, role: AccountRole.READONLY }));
      return { ...transfer, accounts: [...transfer.accounts, ...keys] };
    };
    if (mint === undefined) {
      const lamports = minorUnits(amount, SOL_DECIMALS);
      return [carry(getTransferSolInstruction({ source: this.payer, destination: recipient, amount: lamports }))];
    }
    const destination = await this.#tokenAccountOf(recipient);
    const transfer = getTransferCheckedInstruction({
      source: this.tokenAccount, mint, destination, authority: this.payer, amount: minorUnits(amount, USDT_DECIMALS),
      decimals: USDT_DECIMALS,
    });
    return [this.#createTokenAccount(recipient, destination), carry(transfer)];
  }

  /// Resolves with the wall-clock time (ms) at which this slot was first final.
  settledAt(slot) {
    return until(`${this.name}'s slot ${slot} to be final`, async () => {
      const final = await this.rpc.getSlot({ commitment: 'finalized' }).send();
      return final >= slot ? Date.now() : undefined;
    }, { everyMs: 10 });
  }

  /// Resolves once the newest block is later than this time (RFC 3339).
  passes(time) {
    return until(`${this.name} to pass ${time}`, async () => {
      const slot = await this.rpc.getSlot({ commitment: 'confirmed' }).send();
      const seconds = await this.rpc.getBlockTime(slot).send();
      return Number(seconds) * 1000 > Date.parse(time) ? true : undefined;
    }, { everyMs: 50 });
  }

  async stop() {
    await stop(this.child);
    rmSync(this.folder, { recursive: true, force: true });
  }
}

// Compiles the test contracts with the pinned solc of tools/ and writes build/<name>.json: ABI, bytecode, the selector of
// each function, and the hash of the source. Run after a change: node testkit/contracts/build.mjs
import { createHash } from "node:crypto";
import { mkdirSync, readFileSync, readdirSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const here = dirname(fileURLToPath(import.meta.url));
const solc = createRequire(join(here, "../../tools/package.json"))("solc");

const sources = {};
for (const file of readdirSync(here).filter((name) => name.endsWith(".sol")).sort()) {
  sources[file] = { content: readFileSync(join(here, file), "utf8") };
}
const input = {
  language: "Solidity",
  sources,
  settings: {
    // An older target than the compiler's own, so that every chain and anvil hardfork in use runs it.
    evmVersion: "paris",
    optimizer: { enabled: true, runs: 200 },
    metadata: { appendCBOR: false, bytecodeHash: "none" },
    outputSelection: { "*": { "*": ["abi", "evm.bytecode.object", "evm.methodIdentifiers"] } },
  },
};
const output = JSON.parse(solc.compile(JSON.stringify(input)));
const problems = output.errors ?? [];
for (const problem of problems) console.error(problem.formattedMessage);
if (problems.length > 0) process.exit(1);

mkdirSync(join(here, "build"), { recursive: true });
for (const [file, { content }] of Object.entries(sources)) {
  const name = file.replace(/\.sol$/, "");
  const compiled = output.contracts[file][name];
  const artefact = {
    contract: name,
    compiler: solc.version(),
    source_sha256: createHash("sha256").update(content).digest("hex"),
    selectors: compiled.evm.methodIdentifiers,
    abi: compiled.abi,
    bytecode: `0x${compiled.evm.bytecode.object}`,
  };
  writeFileSync(join(here, "build", `${name}.json`), `${JSON.stringify(artefact, null, 1)}\n`);
}

// Runs a workflow with @stable-canvas/comfyui-client: node stable_canvas.mjs HOST:PORT WORKFLOW.json
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
const require = createRequire(`${process.cwd()}/`);
const { Client } = require("@stable-canvas/comfyui-client");
const WebSocket = require("ws");

const client = new Client({ api_host: process.argv[2], WebSocket, fetch });
await client.getSystemStats();
await client.connect();
const workflow = JSON.parse(readFileSync(process.argv[3], "utf8"));
const changed = (inputs) => ({ ...workflow, s: { ...workflow.s, inputs: { ...workflow.s.inputs, ...inputs } } });
const fails = (run, words) =>
  run.then(() => { throw new Error(`it should have failed: ${words}`); }, (error) => {
    if (!`${error.message} ${JSON.stringify(error)}`.includes(words)) throw error;
  });
const result = await client.enqueue(workflow);
console.log(JSON.stringify(result.images));
await fails(client.enqueue(changed({ steps: 0 })), "Prompt outputs failed validation");
await new Promise((begun) => client.enqueue(changed({ steps: 10000, seed: 9 }), { progress: begun }).catch(() => {}));
await client.interrupt();
while ((await client.getQueue()).Running.length) await new Promise((go) => setTimeout(go, 50));
client.close();
process.exit(0);

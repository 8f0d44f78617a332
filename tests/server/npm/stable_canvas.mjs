// Runs a workflow with @stable-canvas/comfyui-client: node stable_canvas.mjs HOST:PORT WORKFLOW.json
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
const require = createRequire(`${process.cwd()}/`);
const { Client } = require("@stable-canvas/comfyui-client");
const WebSocket = require("ws");

const client = new Client({ api_host: process.argv[2], WebSocket, fetch });
await client.getSystemStats();
await client.connect();
const result = await client.enqueue(JSON.parse(readFileSync(process.argv[3], "utf8")));
console.log(JSON.stringify(result.images));
client.close();
process.exit(0);

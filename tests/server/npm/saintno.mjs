// Runs a workflow with @saintno/comfyui-sdk: node saintno.mjs HOST:PORT WORKFLOW.json
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
const require = createRequire(`${process.cwd()}/`);
const { CallWrapper, ComfyApi, PromptBuilder } = require("@saintno/comfyui-sdk");

const api = new ComfyApi(`http://${process.argv[2]}`).init();
await api.waitForReady();
const workflow = new PromptBuilder(JSON.parse(readFileSync(process.argv[3], "utf8")), ["seed"], ["picture"])
  .setInputNode("seed", "s.inputs.seed")
  .setOutputNode("picture", "o");
const run = (seed, each) =>
  new Promise((done, failed) => {
    new CallWrapper(api, workflow.input("seed", seed)).onProgress(each).onFailed(failed).onFinished(done).run();
  });
const fails = (running) => running.then(() => { throw new Error("it should have failed"); }, (error) => String(error));
const data = await run(7, () => {});
console.log(JSON.stringify({ images: data.picture?.images }));
console.log(await fails(run(-1, () => {})));
await new Promise((begun) => run(8, begun).catch(() => {}));
await api.interrupt();
while ((await api.getQueue()).queue_running.length) await new Promise((go) => setTimeout(go, 50));
process.exit(0);

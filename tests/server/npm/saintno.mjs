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
let previews = 0;
await new CallWrapper(api, workflow.input("seed", 7))
  .onPreview(() => previews++)
  .onFailed((error) => { console.error(error); process.exit(1); })
  .onFinished((data) => { console.log(JSON.stringify({ images: data.picture?.images, previews })); process.exit(0); })
  .run();

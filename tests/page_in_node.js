/* Runs the page's own JavaScript outside a browser: node page_in_node.js page.js task.json weights.bin > pictures.
   task.json holds {graph, length, places}; the pictures come back as float32, one behind the other. */
const fs = require("fs"), vm = require("vm");
const [, , program, task, weights] = process.argv;
vm.runInThisContext(fs.readFileSync(program, "utf8"), program);
const { graph, length, places, seeds } = JSON.parse(fs.readFileSync(task, "utf8"));
if (seeds) {
  for (const seed of seeds) fs.writeSync(1, Buffer.from(noise(seed, length).buffer));
} else {
  const bytes = fs.readFileSync(weights);
  const Made = vm.runInThisContext("Generator");
  const generator = new Made(graph, bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length));
  for (const place of places) {
    const { z, label } = point(place, length);
    fs.writeSync(1, Buffer.from(generator.draw(z, label).buffer));
  }
}

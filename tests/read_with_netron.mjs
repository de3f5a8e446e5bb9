// Reads ONNX files with Netron's own reader: node read_with_netron.mjs FOLDER_OF_NETRON FILE...
import { readFileSync } from 'fs';
import { basename, join } from 'path';
import { pathToFileURL } from 'url';

const [source, ...files] = process.argv.slice(2);
const load = (name) => import(pathToFileURL(join(source, name)).href);
const { BinaryStream } = await load('base.js');
const { ModelFactoryService } = await load('view.js');

const fail = (error) => { throw error; };
const request = async (name, encoding) => {
    const data = readFileSync(join(source, name));
    return encoding ? data.toString(encoding) : new BinaryStream(data);
};
const require = (id) => load(`${id.replace('./', '')}.js`);
const host = { environment: () => null, event: () => {}, exception: fail, error: fail, request, require };

for (const file of files) {
    const stream = new BinaryStream(readFileSync(file));
    const context = { identifier: basename(file), stream, entries: new Map(), request, require, error: fail };
    const model = await new ModelFactoryService(host).open(context);
    const [graph] = model.modules ?? model.graphs;
    const names = (values) => values.map((value) => value.name).join(', ');
    console.log(`${file}: ${model.format}, ${graph.nodes.length} nodes, ${names(graph.inputs)} to ${names(graph.outputs)}`);
}

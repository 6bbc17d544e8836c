import {runCommandLine} from './src/cli/program.ts';
import {readFileSync} from 'node:fs';
console.log('exit', await runCommandLine(process.argv.slice(2), {env:process.env, readFile:p=>readFileSync(p,'utf8'), out:t=>process.stdout.write(t), err:t=>process.stderr.write(t)}, '0.1.0', async c=>{console.log('serve',c.storage,c.listen);return 0}));

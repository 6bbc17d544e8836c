import {formatReference,formatJsonSchema} from './src/config/reference.ts';
import {loadConfig} from './src/config/load.ts';
import {formatConfig} from './src/config/resolved-yaml.ts';
console.log(formatReference()); console.log(formatJsonSchema().slice(0,1500));
console.log(formatConfig(loadConfig({flags:{},env:{},readFile(){}})));
const bad=`listn: x
listen: 8080
log:
  level: inf
  format: 3
storage:
  type: s3
upstreams:
  - namespace: quay.io
    host: https://quay.io/v2
    tls: "yes"
    retries: 1.5
    manifestInvalidationTime: 3d
  - namespace: foo
    password: 123
    idle_timeout: 10
    connect_timeout: 0s
    header_timeout: 3 parsecs
  - hello:secret
allow_unlisted: [a.b, "*"]
shutdown_timeout: 99y
default_namespace: 
`;
try{loadConfig({flags:{config:'x.yaml',listen:'a:b:c'},env:{LOG_LEVEL:'',CHECK_CACHE_DIGEST:'yes'},readFile:()=>bad})}catch(e){console.log(e.message)}

/**
 * A self-signed certificate for localhost, 127.0.0.1, *.example.com and *.example.org with its key, good for a hundred
 * years. It is for servers in tests, and secures nothing.
 */
export const certificate: { readonly cert: string; readonly key: string } = {
  cert: `-----BEGIN CERTIFICATE-----
MIIBsDCCAVegAwIBAgIUAZjtIjE+6TvT5pzg1gQHMnlHDg0wCgYIKoZIzj0EAwIw
DzENMAsGA1UEAwwEdGVzdDAgFw0yNjExMjEwMTEyNTlaGA8yMTI2MTAyODAxMTI1
OVowDzENMAsGA1UEAwwEdGVzdDBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABFA5
HxUTkNg1vcw74nVQNuIkWIvvVacFEWnbQmwQGG6WzxLBK7+XVtWxennNyErUJHJi
LETgrbuId6j+M4NEwVajgY4wgYswHQYDVR0OBBYEFGXRTHzTio2m9wnGVyhW6L3e
3iwZMB8GA1UdIwQYMBaAFGXRTHzTio2m9wnGVyhW6L3e3iwZMA8GA1UdEwEB/wQF
MAMBAf8wOAYDVR0RBDEwL4IJbG9jYWxob3N0gg0qLmV4YW1wbGUuY29tgg0qLmV4
YW1wbGUub3JnhwR/AAABMAoGCCqGSM49BAMCA0cAMEQCIEJYBSEVCCZjIL+QZASR
J1priUrxZ3RjVrad7LSuagCSAiBGvPp55TJWswK/8JR9S5vK3hRAIcEjfKW8wRgp
tPY/BA==
-----END CERTIFICATE-----
`,
  key: `-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgMKsrklOf8kbbBVMZ
DeP6yMLFT8aMZZYPzqqT4UIOSs2hRANCAARQOR8VE5DYNb3MO+J1UDbiJFiL71Wn
BRFp20JsEBhuls8SwSu/l1bVsXp5zchK1CRyYixE4K27iHeo/jODRMFW
-----END PRIVATE KEY-----
`,
};

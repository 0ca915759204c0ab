// A real OpenID provider on a free port of this machine; prints its issuer as one line of JSON.
// argv: the folder with node_modules, the gateway's callback, the audience of machine tokens.
import { createServer } from 'node:http';
import { createRequire } from 'node:module';
import { generateKeyPairSync } from 'node:crypto';
import { pathToFileURL } from 'node:url';

const [home, callback, audience] = process.argv.slice(2);
const require = createRequire(`${home}/`);
const { default: Provider } = await import(pathToFileURL(require.resolve('oidc-provider')));

const jwk = (type, options, extra) => ({
  ...generateKeyPairSync(type, options).privateKey.export({ format: 'jwk' }), use: 'sig', ...extra,
});
const keys = [
  jwk('rsa', { modulusLength: 2048 }, { kid: 'rsa', alg: 'RS256' }),
  jwk('ec', { namedCurve: 'P-256' }, { kid: 'ec', alg: 'ES256' }),
  jwk('ed25519', {}, { kid: 'ed', alg: 'EdDSA' }),
];

const client = (id, alg, more) => ({
  client_id: id, client_secret: `${id} secret, long enough for anything`, ...more,
  id_token_signed_response_alg: alg,
});
const web = { grant_types: ['authorization_code'], redirect_uris: [callback] };
const machine = { grant_types: ['client_credentials'], redirect_uris: [], response_types: [] };

const server = createServer();
server.listen(0, '127.0.0.1', () => {
  const issuer = `http://127.0.0.1:${server.address().port}`;
  const provider = new Provider(issuer, {
    clients: [client('web', 'RS256', web), client('web-ec', 'ES256', web),
      client('machine', 'RS256', machine), client('machine-ed', 'RS256', machine)],
    jwks: { keys },
    cookies: { keys: ['only for tests'] },
    pkce: { required: () => true },
    claims: { openid: ['sub', 'roles', 'org'], profile: ['name'] },
    conformIdTokenClaims: false,
    clientBasedCORS: () => false,
    findAccount: (_, id) => ({
      accountId: id,
      claims: () => ({ sub: id, roles: id === 'alice' ? ['devs'] : [], org: 'red' }),
    }),
    extraTokenClaims: () => ({ roles: ['robots'], org: 'red' }),
    features: {
      clientCredentials: { enabled: true },
      resourceIndicators: {
        enabled: true,
        defaultResource: (_, who) => (who.clientId.startsWith('machine') ? 'urn:weft' : undefined),
        getResourceServerInfo: (_, resource, who) => ({
          scope: 'api', audience, accessTokenFormat: 'jwt', accessTokenTTL: 600,
          jwt: { sign: { alg: who.clientId === 'machine-ed' ? 'EdDSA' : 'RS256' } },
        }),
      },
    },
  });
  server.on('request', provider.callback());
  console.log(JSON.stringify({ issuer }));
});

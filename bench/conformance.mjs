// Runs the suite unpacked in argv[2] against the cache at argv[3]: a JSON line for each test on standard output.
// node-fetch, because Node's own fetch sets headers that the suite wants to set.
const [suite, base] = process.argv.slice(2)
const module = (path) => import(`${suite}/${path}`)

const { default: fetch } = await module('node_modules/node-fetch/lib/index.mjs')
const { default: groups } = await module('node_modules/http-cache-tests/tests/index.mjs')
const { runTests, getResults } = await module('node_modules/http-cache-tests/client/runner.mjs')

await runTests(groups, fetch, false, base)
const results = getResults()
for (const group of groups) {
  for (const { id, name, kind = 'required', depends_on: needs = [] } of group.tests) {
    if (id in results) console.log(JSON.stringify({ id, name, kind, needs, result: results[id] }))
  }
}

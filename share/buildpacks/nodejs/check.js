// SPDX-License-Identifier: MIT
// Look at package.json before npm does, for npm's own words about a broken one are many and dim.
// Exit status: 0 well; 1 unusable, said in one line; 3 well, but without a start script.
'use strict';

const fs = require('fs');

let about;
try {
	about = JSON.parse(fs.readFileSync('package.json', 'utf8').replace(/^\uFEFF/, ''));
	if (about === null || typeof about !== 'object' || Array.isArray(about))
		throw new Error('not an object');
} catch (error) {
	console.error(` !     package.json: ${error.message.replace(/\s+/g, ' ')}`);
	process.exit(1);
}
for (const [name, wanted] of Object.entries(about.engines || {}))
	console.log(`       engines.${name} ${wanted}: not used, the distribution's version runs`);
process.exitCode = about.scripts && about.scripts.start ? 0 : 3;

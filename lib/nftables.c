/* SPDX-License-Identifier: MIT */
#include "lib/nftables.h"

#include <string.h>

#include <nftables/libnftables.h>

#include "lib/alloc.h"
#include "lib/own.h"

#define auto_nft __attribute__((cleanup(nft_close)))

static void
nft_close(struct nft_ctx **nft)
{
	if (*nft != NULL)
		nft_ctx_free(*nft);
}

/* "place: Error: reason" and a drawing of the place: only the reason is for people. */
static char *
reason_of(const char *text)
{
	const char *error = text == NULL ? NULL : strstr(text, "Error: ");
	const char *reason = error == NULL ? (text == NULL ? "" : text) : error + strlen("Error: ");

	return xstrndup(reason, strcspn(reason, "\n"));
}

static int
run(const char *commands, unsigned int flags, char **output, struct failure *why)
{
	auto_nft struct nft_ctx *nft = nft_ctx_new(NFT_CTX_DEFAULT);

	if (nft == NULL)
		return fail(why, EX_UNAVAILABLE, "cannot open nftables", NULL, NULL);
	nft_ctx_output_set_flags(nft, flags);
	/* Unbuffered, both would go to our standard streams, of which one is data. */
	if (nft_ctx_buffer_output(nft) != 0 || nft_ctx_buffer_error(nft) != 0)
		return fail(why, EX_TEMPFAIL, "cannot open nftables", NULL, NULL);
	if (nft_run_cmd_from_buffer(nft, commands) != 0) {
		auto_free char *reason = reason_of(nft_ctx_get_error_buffer(nft));

		return fail(why, EX_TEMPFAIL, "nftables refused", reason, NULL);
	}
	if (output != NULL) {
		const char *text = nft_ctx_get_output_buffer(nft);

		*output = xstrdup(text == NULL ? "" : text);
	}
	return 0;
}

int
nftables_run(const char *commands, char **output, struct failure *why)
{
	return run(commands,
	    NFT_CTX_OUTPUT_STATELESS | NFT_CTX_OUTPUT_TERSE | NFT_CTX_OUTPUT_NUMERIC_ALL, output,
	    why);
}

json_t *
nftables_list(const char *command, struct failure *why)
{
	auto_free char *text = NULL;
	json_error_t error;
	json_t *list;

	if (run(command, NFT_CTX_OUTPUT_JSON | NFT_CTX_OUTPUT_NUMERIC_ALL, &text, why) == -1)
		return NULL;
	if ((list = json_loads(text, 0, &error)) == NULL)
		(void)fail(
		    why, EX_UNAVAILABLE, "cannot read nftables' answer", command, error.text);
	return list;
}

package main

// mutants are all there are. Each is one mistake that somebody could make.
var mutants = []mutant{
	// --- The cart and its outbox
	{
		name: "skip-fence", breaks: "scripts of an older generation go on changing carts",
		edits:  []edit{{"api/cart/lua/guard.lua", "if state ~= READY and state ~= LOST then return 'fenced' end", "if not state then return 'fenced' end"}},
		caught: catcher{folder: "api/cart", test: "TestAProcessThatMissedANewGenerationFollowsIt"},
	},
	{
		name: "two-writes", breaks: "a change and its outbox entry are two writes, and the second is missed now and then",
		edits: []edit{{"api/cart/lua/cart.lua", "local id = call('XADD', KEYS[3], G .. '-*', 'cart', user .. ' ' .. meta .. ' ' .. change)",
			"local id = G .. '-1'\n  if version % 5 ~= 4 then id = call('XADD', KEYS[3], G .. '-*', 'cart', user .. ' ' .. meta .. ' ' .. change) end"}},
		caught: catcher{folder: "api/cart", test: "TestAnyHistoryEndsAsTheModelSays"},
	},
	{
		name: "forget-answers", breaks: "the answer of a keyed call isn't kept",
		edits:  []edit{{"api/cart/lua/mutation.lua", "    call('SET', KEYS[#KEYS], request .. ' ' .. id .. ' ' .. change, 'PX', ARGV[6])\n", ""}},
		caught: catcher{folder: "api/cart", test: "TestOneKeyAppliesOnce"}, fast: true,
	},
	{
		name: "older-facts", breaks: "an add believes the catalogue's copy that its caller has, however old",
		edits:  []edit{{"api/cart/lua/line.lua", "  if held and tonumber(string.match(held, '^%d+')) >= tonumber(string.match(offered, '^%d+')) then return held, held, false end\n", ""}},
		caught: catcher{folder: "api/cart", test: "TestTheNewestFactsWin"},
	},
	{
		name: "answer-early", breaks: "ACK=kafka answers before Kafka has the change",
		edits:  []edit{{"api/cart/ack.go", "	if wanted == (streamID{}) {\n", "	if wanted != (streamID{}) {\n"}},
		caught: catcher{folder: "api/cart", test: "TestAckKafkaWaitsForTheRelay"},
	},
	{
		name: "not-whole", breaks: "the first change under a higher epoch carries its own line alone",
		edits:  []edit{{"api/cart/lua/cart.lua", "    whole, items = '1', all(book, line)\n", "    whole = '1'\n"}},
		caught: catcher{scenario: "wiped"},
	},
	{
		name: "walk-not-resumed", breaks: "a walk over a book's carts ends with its first step",
		edits:  []edit{{"api/cart/lua/step.lua", "if seen == #users and seen < most then\n", "if seen > 0 then\n"}},
		caught: catcher{folder: "api/cart", test: "TestAnyTurnsOfWalksAndMutationsEndAtTheNewestFacts"},
	},

	// --- The relay
	{
		name: "trim-before-ack", breaks: "an entry leaves the outbox when it is sent, not when Kafka has it",
		edits: []edit{{"api/relay/lane.go", "		next.send(l.relay.producer.Client())\n",
			"		s.acknowledged(len(next.entries), next.entries[len(next.entries)-1].ID)\n		wake(l.trimmable)\n		next.send(l.relay.producer.Client())\n"}},
		caught: catcher{scenario: "kafka"},
	},
	{
		name: "trim-unfenced", breaks: "whoever lost the lease of an outbox may still trim it",
		edits:  []edit{{"api/cart/lua/trim.lua", "if not lease or string.match(lease, '%d+$') ~= ARGV[2] then return 'lease' end\n", ""}},
		caught: catcher{folder: "api/cart", test: "TestOnlyTheOwnerTrims"}, fast: true,
	},
	{
		name: "skip-refused", breaks: "what Kafka refused isn't read from the outbox again",
		edits:  []edit{{"api/relay/lane.go", "	s.rewind()\n	s.rest(time.Now(), backoff)\n", "	s.rest(time.Now(), backoff)\n"}},
		caught: catcher{folder: "api/relay", test: "TestOrderHoldsWhateverFails"},
	},

	// --- Recovery
	{
		name: "committed-only", breaks: "a cart that Redis lost comes back without what persist had not stored",
		edits:  []edit{{"api/recovery/tail.go", "			offset = at\n", "			offset = end.Offset - 1\n"}},
		caught: catcher{folder: "api/recovery", test: "TestALostCartComesBackThoughPersistDoesNotRun"},
	},
	{
		name: "tail-unread", breaks: "what Redis lost and Kafka has isn't brought back",
		edits:  []edit{{"api/recovery/tail.go", "		from := max(offset+1, start.Offset)\n", "		from := max(start.Offset, end.Offset)\n"}},
		caught: catcher{scenario: "aof"},
	},

	// --- Consumers
	{
		name: "commit-before-write", breaks: "a batch is marked as done before it is",
		edits:  []edit{{"consumers/runner/worker.go", "		t := &turn{worker: w, stopping: stopping, in: true}\n", "		w.mark(batch[len(batch)-1])\n		t := &turn{worker: w, stopping: stopping, in: true}\n"}},
		caught: catcher{folder: "consumers/runner", test: "TestACrashRepeatsWhatWasNotCommittedAndSkipsNothing"},
	},
	{
		name: "no-revoke", breaks: "partitions are given up while their batches go on",
		edits:  []edit{{"consumers/runner/rebalance.go", "	g.halt(g.remove(taken), stopGrace)\n	g.commit(ctx, cl)\n", "	g.remove(taken)\n	g.commit(ctx, cl)\n"}},
		caught: catcher{folder: "consumers/runner", test: "TestTheOrderOfAKeyIsKeptAcrossRebalances"},
	},
	{
		name: "park-on-outage", breaks: "an engine that is away counts against the record",
		edits:  []edit{{"consumers/runner/outcome.go", "		return refused\n	}\n	return down\n", "		return refused\n	}\n	return rejected\n"}},
		caught: catcher{folder: "consumers/runner", test: "TestAnOutageParksNothingAndOnePartitionStopsNoOther"}, fast: true,
	},
	{
		name: "park-unhealed", breaks: "the cart of a record that is parked isn't brought up to Redis",
		edits:  []edit{{"consumers/runner/worker.go", "		if t.heal != nil && !t.insist(", "		if t.heal == nil && !t.insist("}},
		caught: catcher{folder: "consumers/runner", test: "TestAParkedRecordIsStoredThenHealedThenMarked"},
	},
	{
		name: "any-version", breaks: "MongoDB's document is replaced whatever version it has",
		edits: []edit{{"consumers/persist/flight.go", `		{Key: "$or", Value: bson.A{
			bson.D{{Key: "epoch", Value: bson.D{{Key: "$lt", Value: c.Epoch}}}},
			bson.D{{Key: "epoch", Value: c.Epoch}, {Key: "version", Value: bson.D{{Key: "$lt", Value: c.Version}}}},
		}},
`, ""}},
		caught: catcher{folder: "consumers/persist", test: "TestMembersWithOverlappingBatchesNeverTakeADocumentBack"},
	},
	{
		name: "no-full-sync", breaks: "a change that is missing isn't made up for from Redis",
		edits:  []edit{{"consumers/persist/persist.go", "		if w.gap != (cart.Tag{}) {\n", "		if w.gap != (cart.Tag{}) && w.user == \"\" {\n"}},
		caught: catcher{folder: "consumers/persist", test: "TestAMissingChangeIsHealedFromRedis"},
	},
	{
		name: "state-of-any-version", breaks: "cart.state.v1 gets whatever Redis holds, under an older change too",
		edits:  []edit{{"consumers/state/state.go", "			if c := batch[i].Value; v.Epoch == c.Epoch && v.Version == c.Version {\n", "			if c := batch[i].Value; v.Version > 0 || c.Version == 0 {\n"}},
		caught: catcher{folder: "consumers/state", test: "TestACartIsPublishedAfterItsOwnChange"},
	},
	{
		name: "late-unsuspected", breaks: "a change that Kafka got after Redis had lost it waits for the nightly run",
		edits:  []edit{{"consumers/state/state.go", "				if schemas.Newer(c.Epoch, c.Version, v.Epoch, v.Version) {\n", "				if v.Version < 0 {\n"}},
		caught: catcher{folder: "consumers/state", test: "TestWhoeverRedisLacksAChangeOfIsSuspected"},
	},

	// --- Sockets
	{
		name: "push-any-version", breaks: "a socket sends changes that its client has already",
		edits:  []edit{{"api/live/backlog.go", "	if !newer(f.at, last) {\n		return none\n	}\n	next :=", "	next := true ||"}},
		caught: catcher{folder: "api/live", test: "TestWhatIsRepeatedOrLateIsDropped"},
	},
	{
		name: "gap-unseen", breaks: "a socket sends the next change though one before it is missing",
		edits:  []edit{{"api/live/backlog.go", "	case !next:\n", "	case !next && f.at.Version < 0:\n"}},
		caught: catcher{folder: "api/live", test: "TestALostChangeIsMadeUpForByASnapshot"},
	},
}

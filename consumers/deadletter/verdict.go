package deadletter

import (
	"context"
	"strconv"
	"strings"
	"sync"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"golang.org/x/sync/errgroup"

	"cartstream/api/cart"
	"cartstream/schemas"
)

// Verdict is what a replay would come to against the stores as they are.
type Verdict string

const (
	// WouldApply says that the record is what its group lacks next.
	WouldApply Verdict = "would-apply"
	// Outdated says that the store has what the record tells, or something newer: a replay would change nothing.
	Outdated Verdict = "superseded"
	// NeedsFullSync says that the record is ahead of the store by more than itself: its group would read the whole cart.
	NeedsFullSync Verdict = "needs-full-sync"
	// Unreadable says that the value can't be decoded, and that nothing else tells that it is outdated.
	Unreadable Verdict = "undecodable"
)

// Carts is what Redis holds.
type Carts interface {
	// Get returns the cart under the (epoch, version) of its own last change.
	Get(ctx context.Context, user string) (cart.View, error)
	// Contact returns the cart with the (epoch, version) of its user's own last change.
	Contact(ctx context.Context, user string) (cart.Contact, error)
}

// judge works verdicts out.
type judge struct {
	carts     Carts
	documents *mongo.Collection // carts, as persist keeps them
	books     *mongo.Collection // the catalogue
}

// concurrentReads is how many carts are read from Redis at once.
const concurrentReads = 16

// subject is what a record is about.
type subject struct {
	id             string // of a user or a book, "" where nothing tells
	epoch, version int64
	whole, decoded bool
}

// subjectOf reads a letter's value, or what its headers tell where that is no longer readable.
func subjectOf(l *letter) subject {
	var s subject
	var err error
	switch l.Topic {
	case schemas.CartEvents:
		var c schemas.CartChanged
		c, err = schemas.DecodeCartChanged(l.Value)
		s = subject{c.UserID, c.Epoch, c.Version, c.Whole, true}
	case schemas.BookEvents:
		var c schemas.BookChanged
		c, err = schemas.DecodeBookChanged(l.Value)
		s = subject{c.BookID, 0, c.Version, false, true}
	case schemas.CartReminders:
		var r schemas.Reminder
		r, err = schemas.DecodeReminder(l.Value)
		s = subject{r.UserID, r.Epoch, r.Version, false, true}
	default:
		return subject{decoded: true} // of a topic that isn't read here
	}
	if err == nil {
		return s
	}
	return named(l)
}

// named is what the CloudEvents id says, where it is of the record's own key: <userId>:<epoch>:<version> or
// <bookId>:<version>.
func named(l *letter) (s subject) {
	id := l.header(schemas.HeaderID)
	rest, ok := strings.CutPrefix(id, string(l.Key)+":")
	if !ok {
		return subject{}
	}
	if l.Topic != schemas.BookEvents {
		var epoch string
		epoch, rest, _ = strings.Cut(rest, ":")
		n, err := strconv.ParseInt(epoch, 10, 64)
		if err != nil || n < 0 {
			return subject{}
		}
		s.epoch = n
	}
	n, err := strconv.ParseInt(rest, 10, 64)
	if err != nil || n < 1 {
		return subject{}
	}
	s.version = n
	s.id = string(l.Key)
	return s
}

// stored is how far a store is.
type stored struct {
	epoch, version int64
	asked          bool // false where the store can't be asked now
}

// verdicts returns those of the letters, given what each is about, by the letters' ids. Letters of topics that aren't
// read here have none, nor have those whose store can't be asked now.
func (j *judge) verdicts(ctx context.Context, letters []*letter, about map[string]subject) map[string]Verdict {
	found := j.look(ctx, letters, about)
	verdicts := make(map[string]Verdict, len(letters))
	for _, l := range letters {
		s := about[l.ID]
		switch have := found[l.ID]; {
		case !s.decoded && s.id == "":
			verdicts[l.ID] = Unreadable
		case have.asked:
			verdicts[l.ID] = s.against(have, l)
		}
	}
	return verdicts
}

// against is the verdict by the versions.
func (s subject) against(have stored, l *letter) Verdict {
	ahead := schemas.Newer(s.epoch, s.version, have.epoch, have.version)
	behind := schemas.Newer(have.epoch, have.version, s.epoch, s.version)
	next := s.epoch == have.epoch && s.version == have.version+1
	switch {
	case !s.decoded && ahead:
		return Unreadable
	case !s.decoded, behind:
		return Outdated
	case l.Topic == schemas.CartEvents && l.Group == persist:
		switch {
		case !ahead:
			return Outdated
		case s.whole, next:
			return WouldApply
		}
		return NeedsFullSync
	case ahead: // what Redis, or the catalogue, doesn't have was lost there
		return NeedsFullSync
	}
	return WouldApply
}

// persist is the one group whose store is the carts in MongoDB.
const persist = "persist"

// look asks each letter's store how far it is.
func (j *judge) look(ctx context.Context, letters []*letter, about map[string]subject) map[string]stored {
	found := make(map[string]stored, len(letters))
	inMongo := map[*mongo.Collection]map[string][]string{j.documents: {}, j.books: {}} // letters by user or book
	var mu sync.Mutex
	var reads errgroup.Group
	reads.SetLimit(concurrentReads)
	for _, l := range letters {
		s := about[l.ID]
		switch {
		case s.id == "":
		case l.Topic == schemas.BookEvents:
			inMongo[j.books][s.id] = append(inMongo[j.books][s.id], l.ID)
		case l.Topic == schemas.CartEvents && l.Group == persist:
			inMongo[j.documents][s.id] = append(inMongo[j.documents][s.id], l.ID)
		default:
			reads.Go(func() error {
				have := j.redis(ctx, l, s.id)
				mu.Lock()
				defer mu.Unlock()
				found[l.ID] = have
				return nil
			})
		}
	}
	_ = reads.Wait() // each outcome is in what was found
	for collection, ids := range inMongo {
		mongoVersions(ctx, collection, ids, found)
	}
	return found
}

func (j *judge) redis(ctx context.Context, l *letter, user string) stored {
	if l.Topic == schemas.CartReminders { // only the user's own changes count
		c, err := j.carts.Contact(ctx, user)
		return stored{c.Epoch, c.Version, err == nil}
	}
	v, err := j.carts.Get(ctx, user)
	return stored{v.Epoch, v.Version, err == nil}
}

// mongoVersions looks up what is stored of users or books, for the letters about them.
func mongoVersions(ctx context.Context, collection *mongo.Collection, letters map[string][]string, found map[string]stored) {
	if len(letters) == 0 {
		return
	}
	ids := make([]string, 0, len(letters))
	for id := range letters {
		ids = append(ids, id)
	}
	cursor, err := collection.Find(ctx, bson.D{{Key: "_id", Value: bson.D{{Key: "$in", Value: ids}}}},
		options.Find().SetProjection(bson.D{{Key: "epoch", Value: 1}, {Key: "version", Value: 1}}))
	if err != nil {
		return
	}
	var documents []bson.Raw
	if err := cursor.All(ctx, &documents); err != nil {
		return
	}
	have := map[string]stored{}
	for _, d := range documents { // one that was spoiled by hand says nothing
		epoch, _ := d.Lookup("epoch").AsInt64OK()
		version, ok := d.Lookup("version").AsInt64OK()
		id, _ := d.Lookup("_id").StringValueOK()
		have[id] = stored{epoch, version, ok}
	}
	for id, of := range letters {
		for _, l := range of {
			if h, there := have[id]; there {
				found[l] = h
			} else {
				found[l] = stored{asked: true} // nothing is stored
			}
		}
	}
}

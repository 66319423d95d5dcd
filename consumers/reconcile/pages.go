package reconcile

import (
	"context"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"cartstream/schemas"
)

const (
	// pagesAhead of the one that is compared are read.
	pagesAhead = 2
	// chunkBytes is how much is asked for at once to keep documents in.
	chunkBytes = 64 << 10
)

// page is some documents, in the order of their ids. The last one has an error, or no documents.
type page struct {
	users     []string
	documents []document
	err       error
}

// pages reads the documents that follow an id into pages of limit, fewer where they are large. One cursor goes over all of
// them: a query for each page costs MongoDB twice as much. It closes the pages when they end, or ctx does.
func (c documents) pages(ctx context.Context, after string, limit int, pages chan<- page) {
	defer close(pages)
	for {
		began := after
		err := c.read(ctx, &after, limit, pages)
		if err != nil && after != began && ctx.Err() == nil {
			continue // a cursor doesn't outlive its server; another one may go on
		}
		select {
		case pages <- page{err: err}:
		case <-ctx.Done():
		}
		return
	}
}

// read reads the documents that follow an id, and moves that behind the pages that were taken.
func (c documents) read(ctx context.Context, after *string, limit int, pages chan<- page) error {
	var p page
	var room schemas.Cart
	var chunk []byte
	bytes := 0
	send := func() bool {
		select {
		case pages <- p:
			*after = p.users[len(p.users)-1]
			p, bytes = page{}, 0
			return true
		case <-ctx.Done():
			return false
		}
	}
	err := c.each(ctx, bson.D{{Key: "_id", Value: bson.D{{Key: "$gt", Value: *after}}}},
		options.Find().SetSort(bson.D{{Key: "_id", Value: 1}}).SetBatchSize(int32(limit)), func(id string, raw bson.Raw) bool { //nolint:gosec // some thousands
			if p.users == nil {
				p.users, p.documents = make([]string, 0, limit), make([]document, 0, limit)
			}
			if cap(chunk)-len(chunk) < len(raw) {
				chunk = make([]byte, 0, max(chunkBytes, len(raw)))
			}
			chunk = append(chunk, raw...) // the cursor's is overwritten
			kept := bson.Raw(chunk[len(chunk)-len(raw) : len(chunk) : len(chunk)])
			p.users, p.documents = append(p.users, id), append(p.documents, readDocument(kept, &room))
			bytes += len(raw)
			return len(p.users) < limit && bytes < pageBytes || send()
		})
	if err == nil && ctx.Err() == nil && len(p.users) > 0 {
		send()
	}
	return err
}

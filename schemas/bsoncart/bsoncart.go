// Package bsoncart reads carts as MongoDB holds them. Its hand-written decoder uses the driver's bsoncore, whose interface isn't
// promised to stay.
package bsoncart

import (
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/x/bsonx/bsoncore"

	"cartstream/schemas"
)

// Decode reads a cart's document into c, whose lines' room it takes. It does what bson.Unmarshal does, in a fraction of the time
// where the document is as persist writes it. After an error c is of no use.
func Decode(document bson.Raw, c *schemas.Cart) error {
	if decodeWritten(document, c) {
		return nil
	}
	*c = schemas.Cart{}
	return bson.Unmarshal(document, c)
}

// decodeWritten returns false where the document is in any way unusual; c is of no use then.
func decodeWritten(document bson.Raw, c *schemas.Cart) bool {
	*c = schemas.Cart{Items: c.Items[:0]}
	return fields(document, func(name []byte, v bsoncore.Value) (ok bool) {
		switch string(name) {
		case "_id":
			c.UserID, ok = v.StringValueOK()
		case "epoch":
			c.Epoch, ok = v.Int64OK()
		case "version":
			c.Version, ok = v.Int64OK()
		case "totalAmount":
			c.TotalAmount, ok = v.Int64OK()
		case "totalQuantity":
			c.TotalQuantity, ok = v.Int64OK()
		case "lineCount":
			c.LineCount, ok = v.Int64OK()
		case "updatedAt":
			var at int64
			at, ok = v.DateTimeOK()
			t := schemas.Milliseconds(at)
			c.UpdatedAt = &t
		case "items":
			ok = v.Type == bsoncore.TypeArray && lines(v.Data, c)
		case "currency":
			c.Currency, ok = v.StringValueOK()
		default:
			ok = true
		}
		return ok
	})
}

// lines reads those of an array.
func lines(array []byte, c *schemas.Cart) bool {
	if c.Items == nil {
		c.Items = []schemas.Line{}
	}
	return fields(array, func(_ []byte, v bsoncore.Value) bool {
		c.Items = append(c.Items, schemas.Line{})
		return v.Type == bsoncore.TypeEmbeddedDocument && line(v.Data, &c.Items[len(c.Items)-1])
	})
}

func line(document []byte, l *schemas.Line) bool {
	return fields(document, func(name []byte, v bsoncore.Value) (ok bool) {
		switch string(name) {
		case "bookId":
			l.BookID, ok = v.StringValueOK()
		case "title":
			l.Title, ok = v.StringValueOK()
		case "unitPrice":
			l.UnitPrice, ok = v.Int64OK()
		case "previousUnitPrice":
			var price int64
			price, ok = v.Int64OK()
			l.PreviousUnitPrice = &price
		case "quantity":
			l.Quantity, ok = v.Int64OK()
		case "lineTotal":
			l.LineTotal, ok = v.Int64OK()
		case "availability":
			var text string
			text, ok = v.StringValueOK()
			l.Availability = schemas.Availability(text)
		default:
			ok = true
		}
		return ok
	})
}

// fields calls each with the fields of a document, in order, until it returns false. It returns false then, and where the document
// is broken.
func fields(document []byte, each func(name []byte, v bsoncore.Value) bool) bool {
	length, rest, ok := bsoncore.ReadLength(document)
	if !ok || int(length) != len(document) || length < 5 || document[length-1] != 0 {
		return false
	}
	for len(rest) > 1 {
		var e bsoncore.Element
		if e, rest, ok = bsoncore.ReadElement(rest); !ok {
			return false
		}
		name, err := e.KeyBytesErr()
		if err != nil {
			return false
		}
		v, err := e.ValueErr()
		if err != nil || !each(name, v) {
			return false
		}
	}
	return len(rest) == 1
}

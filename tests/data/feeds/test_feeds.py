"""Catalogue feeds are recognised by their content; prices, availability, images and variants are what the shop said."""

# ruff: noqa: E501  # feeds are as wide as their programs write them

import gzip

import polars as pl
import pytest

from data.dataset import read_log
from data.errors import DataError
from data.log_reading.opening.feed_files import open_feed

GOOGLE_XML = """<?xml version="1.0"?>
<rss version="2.0" xmlns:g="http://base.google.com/ns/1.0"><channel><title>Shop</title>
<item><g:id>A-red</g:id><g:item_group_id>A</g:item_group_id><g:title>Pan</g:title><g:price>15.00 EUR</g:price><g:sale_price>12.00 EUR</g:sale_price><g:availability>out_of_stock</g:availability><g:brand>Iron</g:brand><g:image_link>https://shop.example/a.jpg</g:image_link><g:product_type>Kitchen &gt; Pans</g:product_type></item>
<item><g:id>A-blue</g:id><g:item_group_id>A</g:item_group_id><g:title>Pan blue</g:title><g:price>11.00 EUR</g:price><g:availability>in_stock</g:availability></item>
<item><g:id>B</g:id><g:title>Pot</g:title><g:price>9.00 EUR</g:price><g:availability>preorder</g:availability></item>
</channel></rss>"""
GOOGLE_TSV = "id\ttitle\tlink\tprice\tavailability\titem_group_id\nA-red\tPan\thttps://x.example\t12,00 EUR\tout of stock\tA\nA-blue\tPan\thttps://x.example\t11,00 EUR\tin stock\tA\nB\tPot\thttps://x.example\t9,00 EUR\tin stock\t\n"
FACEBOOK = "id,title,description,availability,condition,price,link,image_link,brand,item_group_id,fb_product_category\nA-red,Pan,x,out of stock,new,12.00 EUR,https://x.example,i,Iron,A,pans\nA-blue,Pan,x,available for order,new,11.00 EUR,https://x.example,i,Iron,A,pans\nB,Pot,x,in stock,new,9.00 EUR,https://x.example,i,Iron,,pots\n"
SHOPIFY = """Handle,Title,Vendor,Type,Published,Option1 Value,Variant SKU,Variant Inventory Tracker,Variant Inventory Qty,Variant Inventory Policy,Variant Price,Variant Compare At Price,Image Src,Status
A,Pan,Iron,Pans,true,red,A-red,shopify,0,deny,12.00,15.00,https://x.example/a.jpg,active
A,,,,,blue,A-blue,shopify,4,deny,11.00,,https://x.example/b.jpg,
A,,,,,,,,,,,,https://x.example/c.jpg,
B,Pot,Iron,Pots,true,,B-1,,,,9.00,,,active
"""
WOO = """ID,Type,SKU,Name,In stock?,Regular price,Sale price,Categories,Images,Parent
1,variable,A,Pan,1,,,Kitchen > Pans,https://x.example/a.jpg,
2,variation,A-red,Pan - red,0,12,,,,id:1
3,variation,A-blue,Pan - blue,1,15,11,,,A
4,simple,B,Pot,1,9,,Pots,,
"""
HEUREKA = """<?xml version="1.0" encoding="utf-8"?><SHOP>
<SHOPITEM><ITEM_ID>A-red</ITEM_ID><PRODUCTNAME>Pan</PRODUCTNAME><PRICE_VAT>12,00</PRICE_VAT><CATEGORYTEXT>Heureka.cz | Kitchen | Pans</CATEGORYTEXT><ITEMGROUP_ID>A</ITEMGROUP_ID><DELIVERY_DATE>0</DELIVERY_DATE></SHOPITEM>
<SHOPITEM><ITEM_ID>A-blue</ITEM_ID><PRODUCTNAME>Pan</PRODUCTNAME><PRICE_VAT>11</PRICE_VAT><ITEMGROUP_ID>A</ITEMGROUP_ID></SHOPITEM>
<SHOPITEM><ITEM_ID>B</ITEM_ID><PRODUCTNAME>Pot</PRODUCTNAME><PRICE_VAT>9</PRICE_VAT></SHOPITEM></SHOP>"""
PAGE = """<!doctype html><html><head><script type="application/ld+json">{"@context": "https://schema.org", "@graph": [
{"@type": "ProductGroup", "productGroupID": "A", "name": "Pan", "hasVariant": [
 {"@type": "Product", "sku": "A-red", "name": "Pan red", "offers": {"price": "12.00", "priceCurrency": "EUR", "availability": "https://schema.org/SoldOut"}},
 {"@type": "Product", "sku": "A-blue", "name": "Pan blue", "offers": [{"price": 11, "priceCurrency": "EUR", "availability": "https://schema.org/InStock"}]}]},
{"@type": "Product", "sku": "B", "name": "Pot", "brand": {"name": "Iron"}, "offers": {"price": 9, "priceCurrency": "EUR", "availability": "InStock"}}]}</script>
<script type="application/ld+json">{broken</script></head></html>"""

FEEDS = [
    ("google-merchant", "feed.xml", GOOGLE_XML),
    ("google-merchant", "feed.tsv", GOOGLE_TSV),
    ("facebook-catalogue", "facebook.csv", FACEBOOK),
    ("shopify-products", "products_export.csv", SHOPIFY),
    ("woocommerce-products", "wc-products.csv", WOO),
    ("heureka", "heureka.xml", HEUREKA),
    ("json-ld", "page.html", PAGE),
]


@pytest.mark.parametrize(("name", "file", "text"), FEEDS, ids=[file for _, file, _ in FEEDS])
def test_a_feed_is_recognised_and_its_variants_are_one_item(tmp_path, name, file, text):
    (tmp_path / file).write_text(text)
    feed = open_feed(tmp_path / file)
    assert feed is not None
    assert feed.name == name
    rows = feed.frame.select("item_id", "title", "price", "available").rows()
    assert rows == [("A", "Pan", 11.0, True), ("B", "Pot", 9.0, True)]
    assert {alias: feed.aliases[alias] for alias in ("A-red", "A-blue")} == {"A-red": "A", "A-blue": "A"}
    assert feed.currency in ("EUR", "")
    (tmp_path / "log.csv").write_text("user_id,item_id,time\nu,A-red,2024-01-01\nv,A-blue,2024-01-02\nv,Z,2024-01-02\n")
    dataset = read_log(tmp_path / "log.csv", items=tmp_path / file)
    assert dataset.items.ids.to_list() == ["A", "Z", "B"]
    assert dataset.catalogue["title"].to_list() == ["Pan", None, "Pot"]
    assert "items: 1 of 2 items of the log are in it" in dataset.summary["notes"]
    assert f"items: read as {name}" in " ".join(dataset.summary["notes"])


def test_a_sale_price_counts_and_the_regular_one_is_kept(tmp_path):
    (tmp_path / "feed.xml").write_text(GOOGLE_XML)
    frame = open_feed(tmp_path / "feed.xml").frame
    assert frame["regular_price"].to_list() == [15.0, None]
    assert frame["brand"].to_list() == ["Iron", None]
    assert frame["category"].to_list() == ["Kitchen > Pans", None]


def test_a_packed_feed_is_read(tmp_path):
    (tmp_path / "feed.xml.gz").write_bytes(gzip.compress(GOOGLE_XML.encode()))
    assert len(open_feed(tmp_path / "feed.xml.gz").frame) == 2


def test_two_currencies_are_an_error_that_names_both(tmp_path):
    (tmp_path / "feed.xml").write_text(GOOGLE_XML.replace("9.00 EUR", "9.00 CZK"))
    with pytest.raises(DataError, match="prices in EUR and in CZK"):
        open_feed(tmp_path / "feed.xml")


def test_xml_entities_are_refused(tmp_path):
    bomb = '<?xml version="1.0"?><!DOCTYPE r [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]>'
    (tmp_path / "feed.xml").write_text(bomb + GOOGLE_XML.partition("?>")[2].replace("Pan<", "&b;<"))
    with pytest.raises(DataError, match="declares XML entities"):
        open_feed(tmp_path / "feed.xml")
    (tmp_path / "feed.xml").write_text(GOOGLE_XML[:-20])
    with pytest.raises(DataError, match="broken XML"):
        open_feed(tmp_path / "feed.xml")


def test_a_table_that_is_no_feed_is_none(tmp_path):
    (tmp_path / "items.csv").write_text("item_id,title,price\na,Pan,1\n")
    assert open_feed(tmp_path / "items.csv") is None
    assert open_feed(pl.DataFrame({"item_id": ["a"]})) is None


def test_two_variants_of_a_product_in_one_order_are_two_events(tmp_path):
    (tmp_path / "feed.xml").write_text(GOOGLE_XML)
    text = "user_id,item_id,time,event,order\nu,A-red,2024-01-01,buy,1\nu,A-blue,2024-01-01,buy,1\nu,A-red,2024-01-01,buy,1\n"
    (tmp_path / "log.csv").write_text(text)
    dataset = read_log(tmp_path / "log.csv", items=tmp_path / "feed.xml")
    assert dataset.events["item_id"].to_list() == ["A", "A"]
    assert dataset.events["source_item_id"].to_list() == ["A-red", "A-blue"]
    assert dataset.summary["duplicates"] == 1

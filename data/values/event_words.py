"""Event words of the field, and what each means: analytics, shop systems and feeds say one thing in many words.

`meaning` folds case, blanks and punctuation. A word that is not here is asked for, never guessed.
"""

from __future__ import annotations

import re

IGNORED = "ignore"
"""The meaning of words that tell of no product: a login, a search, a page of the shop's imprint."""

_WORDS: dict[str, str] = {
    "view": "view views viewed click clicks clicked pageview page_view pageviews view_item viewed_item item_view "
    "product_view product_viewed viewed_product view_product product_detail product_detail_view detail detail_view "
    "view_content viewcontent product_page_view product_click product_clicked select_item select_content "
    "product_impression_click catalog_product_view ecommerce_product_view prodview prod_view item_viewed open_item "
    "quick_view quickview details prod_view prodview",
    "cart": "cart carts add_to_cart addtocart added_to_cart add_to_basket addtobasket added_to_basket basket "
    "add_basket add_cart cart_add product_added product_added_to_cart add_product add_to_bag addtobag added_to_bag "
    "add_to_trolley basket_add item_added sc_add scadd ecommerce_add_to_cart checkout_cart_add add",
    "purchase": "purchase purchases purchased order orders ordered buy buys bought order_completed completed_order "
    "order_complete complete_order transaction transactions checkout_completed checkout_complete order_placed "
    "placed_order place_order order_paid order_created sale sold ecommerce_purchase payment_completed paid "
    "completed_purchase complete_payment purchase_completed in_app_purchase transaction_item prodpurchase",
    "like": "like likes liked favorite favourite favorited favourited add_to_wishlist addtowishlist added_to_wishlist "
    "wishlist wishlist_add product_added_to_wishlist wish save saved bookmark heart thumbs_up thumbsup upvote",
    "dislike": "dislike disliked thumbs_down thumbsdown downvote not_interested",
    "-cart": "remove_from_cart removefromcart removed_from_cart product_removed remove_from_basket removed_from_basket "
    "cart_remove remove_cart basket_remove sc_remove scremove remove_from_bag product_removed_from_cart "
    "delete_from_cart",
    "-purchase": "refund refunds refunded order_refunded cancel cancelled canceled cancellation order_cancelled "
    "order_canceled return returned returns order_returned chargeback void voided reversal",
    "-like": "unlike unliked remove_from_wishlist removefromwishlist product_removed_from_wishlist unfavorite "
    "unfavourite wishlist_remove",
    IGNORED: "session_start first_visit user_engagement scroll search view_search_results site_search login sign_up "
    "signup logout register view_item_list view_list product_list_viewed product_list_view view_cart cart_viewed "
    "begin_checkout checkout checkout_started checkout_step_viewed checkout_step_completed checkout_progress "
    "initiate_checkout add_payment_info payment_info_entered add_shipping_info view_promotion select_promotion "
    "promotion_viewed promotion_clicked share page page_ping identify screen screen_view app_open impression "
    "impressions view_impression form_start form_submit file_download video_start video_progress video_complete "
    "outlink download goal event link_click submit_form change_form focus_form products_searched coupon_applied "
    "coupon_entered coupon_removed sccheckout sc_checkout scview sc_view web_vitals click_outbound",
}
MEANINGS = {word: meaning for meaning, words in _WORDS.items() for word in words.split()}


def fold(word: str) -> str:
    """Fold a word: without case, blanks around it and the marks between its parts: ``Add To Cart`` is add_to_cart."""
    parted = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", word.strip()) if not word.isupper() else word.strip()
    return re.sub(r"[\s\-_.:/]+", "_", parted).strip("_").lower()


def meaning(word: str) -> str | None:
    """Find a word's meaning: a kind, a kind with a minus that undoes it, IGNORED, or None for an unknown word."""
    folded = fold(word)
    return MEANINGS.get(folded) or MEANINGS.get(folded.replace("_", ""))
